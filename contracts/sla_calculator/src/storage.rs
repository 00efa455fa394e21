//! State, its keys and its life. Everything but markers and report anchors lives
//! in the instance entry, which every call reads anyway.

use soroban_sdk::{contracttype, panic_with_error, Address, Env, IntoVal, Symbol, TryFromVal, Val};

use crate::{sla, AdminError, Bands, Config, Severity, Terms};

/// The schema of the state that this code reads and writes.
pub const SCHEMA: u32 = 1;

/// At five seconds a ledger.
const DAY_LEDGERS: u32 = 17_280;
/// A money call that finds less than this left extends the instance ...
const INSTANCE_TTL_THRESHOLD_LEDGERS: u32 = 60 * DAY_LEDGERS;
/// ... to this: a day at a time, so that no single payment bears the rent of a season.
const INSTANCE_TTL_LEDGERS: u32 = 61 * DAY_LEDGERS;

/// Keys of the contract's own state. Markers have theirs in `MarkerKey`.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DataKey {
    Admin,
    Bands,
    Executor,
    Paused,
    PendingAdmin,
    RewardToken,
    Schema,
    Terms(Severity),
    UsdcToken,
    /// Persistent, one for each outage: hash and ledger of each version, oldest
    /// first.
    Rca(Symbol),
}

fn read<T: TryFromVal<Env, Val>>(env: &Env, key: &DataKey) -> T {
    env.storage()
        .instance()
        .get(key)
        .unwrap_or_else(|| panic_with_error!(env, AdminError::NotInitialized))
}

fn write<T: IntoVal<Env, Val>>(env: &Env, key: &DataKey, value: &T) {
    env.storage().instance().set(key, value);
}

pub fn initialize(
    env: &Env,
    admin: &Address,
    executor: &Address,
    usdc_token: &Address,
    reward_token: &Address,
) {
    set_admin(env, admin);
    set_executor(env, executor);
    write(env, &DataKey::UsdcToken, usdc_token);
    write(env, &DataKey::RewardToken, reward_token);
    set_bands(env, &sla::initial_bands());
    for severity in [
        Severity::Critical,
        Severity::High,
        Severity::Medium,
        Severity::Low,
    ] {
        set_terms(env, severity, &sla::initial_terms(severity));
    }
    set_paused(env, false);
    set_schema(env, SCHEMA);
}

pub fn admin(env: &Env) -> Address {
    read(env, &DataKey::Admin)
}

pub fn set_admin(env: &Env, admin: &Address) {
    write(env, &DataKey::Admin, admin);
}

pub fn pending_admin(env: &Env) -> Option<Address> {
    env.storage().instance().get(&DataKey::PendingAdmin)
}

pub fn set_pending_admin(env: &Env, proposed: Option<&Address>) {
    match proposed {
        Some(proposed) => write(env, &DataKey::PendingAdmin, proposed),
        None => env.storage().instance().remove(&DataKey::PendingAdmin),
    }
}

pub fn executor(env: &Env) -> Address {
    read(env, &DataKey::Executor)
}

pub fn set_executor(env: &Env, executor: &Address) {
    write(env, &DataKey::Executor, executor);
}

pub fn usdc_token(env: &Env) -> Address {
    read(env, &DataKey::UsdcToken)
}

pub fn reward_token(env: &Env) -> Address {
    read(env, &DataKey::RewardToken)
}

pub fn terms(env: &Env, severity: Severity) -> Terms {
    read(env, &DataKey::Terms(severity))
}

pub fn set_terms(env: &Env, severity: Severity, terms: &Terms) {
    write(env, &DataKey::Terms(severity), terms);
}

pub fn bands(env: &Env) -> Bands {
    read(env, &DataKey::Bands)
}

pub fn set_bands(env: &Env, bands: &Bands) {
    write(env, &DataKey::Bands, bands);
}

pub fn paused(env: &Env) -> bool {
    read(env, &DataKey::Paused)
}

pub fn set_paused(env: &Env, paused: bool) {
    write(env, &DataKey::Paused, &paused);
}

pub fn schema(env: &Env) -> u32 {
    read(env, &DataKey::Schema)
}

pub fn set_schema(env: &Env, schema: u32) {
    write(env, &DataKey::Schema, &schema);
}

pub fn config(env: &Env) -> Config {
    Config {
        admin: admin(env),
        bands: bands(env),
        critical: terms(env, Severity::Critical),
        executor: executor(env),
        high: terms(env, Severity::High),
        low: terms(env, Severity::Low),
        medium: terms(env, Severity::Medium),
        paused: paused(env),
        pending_admin: pending_admin(env),
        reward_token: reward_token(env),
        schema: schema(env),
        usdc_token: usdc_token(env),
    }
}

/// Lets a new contract begin with the greatest life that the network grants.
pub fn extend_instance_to_max(env: &Env) {
    let max = env.storage().max_ttl();
    env.deployer()
        .extend_ttl_for_contract_instance(env.current_contract_address(), max, max);
}

/// Keeps the contract's state alive, for as long as it is in use.
///
/// The code is left out: its rent counts the parsed module, tens of XLM for a season,
/// which no payment's fee cap should have to admit. Whoever runs the contract extends
/// it; archived, it is restored by the next call.
pub fn extend_instance(env: &Env) {
    let max = env.storage().max_ttl();
    env.deployer().extend_ttl_for_contract_instance(
        env.current_contract_address(),
        INSTANCE_TTL_THRESHOLD_LEDGERS.min(max),
        INSTANCE_TTL_LEDGERS.min(max),
    );
}
