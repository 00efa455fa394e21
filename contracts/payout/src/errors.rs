use soroban_sdk::contracterror;

// Below 100 are the token's own numbers (see `distribution`); 100 to 199 belong
// to the marker (settlement_marker::MarkerError); 200 to 299 to the SLA contract.

/// Refusals of administration: 300 to 399, the same numbers in every contract.
/// Nothing changed.
#[contracterror]
#[derive(Copy, Clone, Debug, Eq, PartialEq, PartialOrd, Ord)]
#[repr(u32)]
pub enum AdminError {
    /// The contract is paused: nothing is paid.
    Paused = 301,
    /// Nobody has been proposed as admin.
    NoPendingAdmin = 302,
    /// The stored state is not of this code's schema: `migrate` first.
    SchemaMismatch = 303,
    /// A token does not have seven decimals.
    TokenDecimals = 308,
    /// The state lacks what the constructor writes.
    NotInitialized = 309,
    /// A cap is not positive, or a day's is below a call's.
    CapsOutOfBounds = 310,
    /// As many tokens are allowed as the contract keeps.
    TooManyTokens = 311,
}

/// Refusals of distributions and funding: 400 to 499. Nothing moved.
#[contracterror]
#[derive(Copy, Clone, Debug, Eq, PartialEq, PartialOrd, Ord)]
#[repr(u32)]
pub enum PayoutError {
    /// The list is empty.
    NoRecipients = 401,
    /// The list is longer than the contract takes.
    TooManyRecipients = 402,
    /// An amount is zero or negative.
    AmountNotPositive = 403,
    /// The token is not allowed here.
    TokenNotAllowed = 404,
    /// The list's total is above the token's cap for a call.
    AboveCallCap = 405,
    /// The list's total is above what the token's cap leaves of the day (UTC).
    AboveDayCap = 406,
    /// The contract holds less of the token than the list's total.
    BalanceTooSmall = 407,
    /// The token refused for a reason that has no number below 100; the
    /// diagnostic events tell which.
    TokenRefused = 408,
    /// The recipient is this contract.
    PaysItself = 409,
}
