use soroban_sdk::contracterror;

// 100 to 199 belong to the marker (settlement_marker::MarkerError).

/// Refusals of decisions and payments: 200 to 299. Nothing moved.
#[contracterror]
#[derive(Copy, Clone, Debug, Eq, PartialEq, PartialOrd, Ord)]
#[repr(u32)]
pub enum SlaError {
    /// The operator's allowance to this contract is smaller than the penalty,
    /// has ended, or was never given.
    AllowanceTooSmall = 201,
    /// The operator holds less USDC than the penalty.
    OperatorBalanceTooSmall = 202,
    /// The pool holds fewer reward tokens than the reward.
    PoolTooSmall = 203,
    /// The recipient's account does not exist.
    RecipientNoAccount = 204,
    /// The recipient has no trustline for the token.
    RecipientNoTrustline = 205,
    /// The issuer has frozen the payer's or the recipient's balance.
    BalanceFrozen = 206,
    /// The token refused for another reason (for example: the recipient's
    /// trustline is full); the diagnostic events tell which.
    TokenRefused = 207,
    /// Payer and recipient are the same account.
    PaysItself = 208,
    /// The amount does not fit.
    Overflow = 209,
    /// The outage has the greatest number of reports already.
    RcaFull = 210,
}

/// Refusals of administration: 300 to 399. Nothing changed.
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
    /// The threshold is 0 or more than a year of minutes.
    ThresholdOutOfBounds = 304,
    /// The penalty per minute is negative or above 1,000,000 USDC.
    PenaltyOutOfBounds = 305,
    /// The base reward is negative or above 1,000,000,000 tokens.
    RewardOutOfBounds = 306,
    /// The bands' limits or rewards do not descend, or exceed their bounds.
    BandsOutOfBounds = 307,
    /// A token does not have seven decimals.
    TokenDecimals = 308,
    /// The state lacks what the constructor writes.
    NotInitialized = 309,
}
