use soroban_sdk::{contractevent, Address, Bytes, BytesN};

/// A list was paid. The token tells each transfer in an event of its own.
#[contractevent]
pub struct Distributed {
    #[topic]
    pub id: BytesN<32>,
    #[topic]
    pub token: Address,
    /// What moved.
    pub amount: i128,
    /// A byte for each recipient, as in `Distribution`.
    pub outcomes: Bytes,
}

/// A list was sent again; the first outcome was told and nothing moved.
#[contractevent]
pub struct Replayed {
    #[topic]
    pub id: BytesN<32>,
    /// The ledger that paid.
    pub settled_ledger: u32,
}

/// An id was killed unused.
#[contractevent]
pub struct Voided {
    #[topic]
    pub id: BytesN<32>,
}

/// Money came in.
#[contractevent]
pub struct Funded {
    #[topic]
    pub from: Address,
    #[topic]
    pub token: Address,
    pub amount: i128,
}

/// The admin took money out.
#[contractevent]
pub struct Withdrawn {
    #[topic]
    pub to: Address,
    #[topic]
    pub token: Address,
    pub amount: i128,
}

/// A token was allowed, or its caps changed.
#[contractevent]
pub struct TokenSet {
    #[topic]
    pub token: Address,
    pub per_call: i128,
    pub per_day: i128,
}

/// A token is allowed no more.
#[contractevent]
pub struct TokenRemoved {
    #[topic]
    pub token: Address,
}

/// Another account became the only caller of distributions.
#[contractevent]
pub struct ExecutorChanged {
    #[topic]
    pub before: Address,
    #[topic]
    pub after: Address,
}

/// An account may now accept to become the admin.
#[contractevent]
pub struct AdminProposed {
    #[topic]
    pub admin: Address,
    #[topic]
    pub proposed: Address,
}

/// The proposed account is the admin now.
#[contractevent]
pub struct AdminAccepted {
    #[topic]
    pub before: Address,
    #[topic]
    pub admin: Address,
}

/// Distributions stop.
#[contractevent]
pub struct Paused {
    #[topic]
    pub admin: Address,
}

/// Distributions go on.
#[contractevent]
pub struct Unpaused {
    #[topic]
    pub admin: Address,
}

/// The contract's code was replaced, with effect from the next call.
#[contractevent]
pub struct Upgraded {
    pub wasm_hash: BytesN<32>,
    /// The schema of the stored state at that time.
    pub schema: u32,
}

/// The stored state was brought to this code's schema.
#[contractevent]
pub struct Migrated {
    pub before: u32,
    pub after: u32,
}
