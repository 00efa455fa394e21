use soroban_sdk::{contractevent, Address, BytesN, Symbol};

use crate::{Bands, Rating, Severity, Terms};

/// A penalty went from the operator to the pool.
#[contractevent]
pub struct PenaltyDrawn {
    #[topic]
    pub id: BytesN<32>,
    #[topic]
    pub outage_id: Symbol,
    pub amount: i128,
    pub from: Address,
    pub mttr_minutes: u32,
    pub severity: Severity,
    pub to: Address,
    pub token: Address,
}

/// A reward went from the pool to the NOC team.
#[contractevent]
pub struct RewardPaid {
    #[topic]
    pub id: BytesN<32>,
    #[topic]
    pub outage_id: Symbol,
    pub amount: i128,
    pub from: Address,
    pub mttr_minutes: u32,
    pub rating: Rating,
    pub severity: Severity,
    pub to: Address,
    pub token: Address,
}

/// A payment was asked for again; the first outcome was told and nothing moved.
#[contractevent]
pub struct Replayed {
    #[topic]
    pub id: BytesN<32>,
    #[topic]
    pub outage_id: Symbol,
    /// The ledger that paid.
    pub settled_ledger: u32,
}

/// An id was killed unused.
#[contractevent]
pub struct Voided {
    #[topic]
    pub id: BytesN<32>,
}

/// The hash of a root-cause report was anchored.
#[contractevent]
pub struct RcaAnchored {
    #[topic]
    pub outage_id: Symbol,
    pub hash: BytesN<32>,
    pub version: u32,
}

/// The terms of a severity changed.
#[contractevent]
pub struct ConfigUpdated {
    #[topic]
    pub severity: Severity,
    pub before: Terms,
    pub after: Terms,
}

/// The reward bands changed.
#[contractevent]
pub struct BandsUpdated {
    pub before: Bands,
    pub after: Bands,
}

/// Another account became the pool and only caller of payments.
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

/// Payments stop.
#[contractevent]
pub struct Paused {
    #[topic]
    pub admin: Address,
}

/// Payments go on.
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
