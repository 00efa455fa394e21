use soroban_sdk::{contracttype, Address, BytesN, Symbol};

/// How bad an outage is. On the wire a `u32`; other numbers are refused by the
/// host before the contract runs.
#[contracttype]
#[derive(Copy, Clone, Debug, Eq, PartialEq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Severity {
    Critical = 0,
    High = 1,
    Medium = 2,
    Low = 3,
}

/// Which way money goes.
#[contracttype]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum PaymentKind {
    /// Operator to pool, in USDC.
    Penalty = 0,
    /// Pool to NOC team, in the reward token.
    Reward = 1,
}

/// How well a repair went.
#[contracttype]
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Rating {
    Exceptional = 0,
    Excellent = 1,
    Good = 2,
    /// Over the threshold.
    Violated = 3,
}

/// The terms of one severity.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Terms {
    /// Paid for a repair within the threshold, before the band's share. Units
    /// of 10^-7 reward token.
    pub base_reward: i128,
    /// Owed for each minute over the threshold. Units of 10^-7 USDC.
    pub penalty_per_minute: i128,
    /// The last minute that is not a violation.
    pub threshold_minutes: u32,
}

/// Shares of the base reward, by performance: MTTR as a percentage of the
/// threshold, compared without rounding.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bands {
    /// Performance below this percentage (and not exceptional) is excellent.
    pub excellent_below_percent: u32,
    /// Percentage of the base reward for an excellent repair.
    pub excellent_reward_percent: u32,
    /// Performance below this percentage is exceptional.
    pub exceptional_below_percent: u32,
    /// Percentage of the base reward for an exceptional repair.
    pub exceptional_reward_percent: u32,
    /// Percentage of the base reward for any other repair in time.
    pub good_reward_percent: u32,
}

/// Everything that is configured.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    pub admin: Address,
    pub bands: Bands,
    pub critical: Terms,
    pub executor: Address,
    pub high: Terms,
    pub low: Terms,
    pub medium: Terms,
    pub paused: bool,
    /// Who may accept to become the admin.
    pub pending_admin: Option<Address>,
    pub reward_token: Address,
    /// The schema of the stored state.
    pub schema: u32,
    pub usdc_token: Address,
}

/// The decision on one outage.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlaResult {
    /// Units of 10^-7 token, never negative.
    pub amount: i128,
    pub kind: PaymentKind,
    pub mttr_minutes: u32,
    pub outage_id: Symbol,
    pub rating: Rating,
    pub severity: Severity,
    pub threshold_minutes: u32,
    pub violated: bool,
}

/// What a marker keeps of a payment: what the call's arguments do not say. A tuple,
/// since the names of its fields would pay rent until the network's greatest TTL:
/// amount (units of 10^-7 token), kind, the pool of that time, rating, threshold in
/// minutes.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settled(pub i128, pub PaymentKind, pub Address, pub Rating, pub u32);

/// A payment made.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PaymentResult {
    /// Units of 10^-7 of `token`.
    pub amount: i128,
    pub from: Address,
    pub id: BytesN<32>,
    pub kind: PaymentKind,
    /// This is the first outcome told again: nothing moved now.
    pub replayed: bool,
    pub sla: SlaResult,
    pub to: Address,
    pub token: Address,
}

/// One version of a root-cause report, by its SHA-256.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RcaAnchor {
    pub hash: BytesN<32>,
    /// The sequence number of the ledger that anchored it.
    pub ledger: u32,
    /// 1 for the first report, 2 for its first correction, and so on.
    pub version: u32,
}
