use soroban_sdk::{contracttype, Address, Bytes, Map};

/// How much of a token may go out.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caps {
    /// The greatest total of one call. Units of 10^-7 token.
    pub per_call: i128,
    /// The greatest sum of a day, from midnight UTC. Units of 10^-7 token.
    pub per_day: i128,
}

/// An allowed token.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenState {
    /// What the contract holds. Units of 10^-7 token.
    pub balance: i128,
    /// What has moved since midnight UTC. Units of 10^-7 token.
    pub moved_today: i128,
    pub per_call: i128,
    pub per_day: i128,
}

/// Everything that is configured.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub admin: Address,
    pub executor: Address,
    pub paused: bool,
    /// Who may accept to become the admin.
    pub pending_admin: Option<Address>,
    /// The schema of the stored state.
    pub schema: u32,
    /// The allowed tokens.
    pub tokens: Map<Address, Caps>,
}

/// What a marker keeps of a distribution: what the call's arguments do not say.
/// A byte for each recipient (see [`Distribution::outcomes`]), and the amount
/// that moved, in units of 10^-7 token. A tuple, since names would pay rent.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settled(pub Bytes, pub i128);

/// A distribution made.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Distribution {
    /// What moved. Units of 10^-7 of `token`.
    pub amount: i128,
    /// This contract, whose money it was.
    pub from: Address,
    /// A byte for each recipient, in the list's order: 0 paid, else not paid:
    /// the token's error number, or 255 for what has no number below 100.
    pub outcomes: Bytes,
    /// This is the first outcome told again: nothing moved now.
    pub replayed: bool,
    pub token: Address,
}
