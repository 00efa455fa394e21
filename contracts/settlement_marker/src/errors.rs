use soroban_sdk::contracterror;

/// Refusals of the marker. Numbers 100 to 199 are its own in every contract.
#[contracterror]
#[derive(Copy, Clone, Debug, Eq, PartialEq, PartialOrd, Ord)]
#[repr(u32)]
pub enum MarkerError {
    /// The id has settled a call with other arguments. Nothing moved now.
    IdReused = 101,
    /// The id was voided and can never pay.
    IdVoided = 102,
    /// The id has already paid, so it cannot be voided.
    AlreadySettled = 103,
    /// A stored outcome does not have the shape that this code expects.
    OutcomeUnreadable = 104,
}
