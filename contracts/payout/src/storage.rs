//! State, its keys and its life. What every call reads lives in the instance
//! entry; what moved in a day has an entry for each token, so that a payment
//! does not rewrite the instance.

use soroban_sdk::{contracttype, panic_with_error, Address, Env, IntoVal, Map, TryFromVal, Val};

use crate::{AdminError, Caps, Config};

/// The schema of the state that this code reads and writes.
pub const SCHEMA: u32 = 1;

/// As many tokens as may be allowed at once: each call reads them all.
pub const MAX_TOKENS: u32 = 16;

const DAY_SECONDS: u64 = 86_400;
/// At five seconds a ledger.
const DAY_LEDGERS: u32 = 17_280;
/// A money call that finds less than this left extends the instance, or the
/// day's sum of a token ...
const TTL_THRESHOLD_LEDGERS: u32 = 60 * DAY_LEDGERS;
/// ... to this: a day at a time, so that no single payment bears the rent of a season.
const TTL_LEDGERS: u32 = 61 * DAY_LEDGERS;

/// Keys of the contract's own state. Markers have theirs in `MarkerKey`.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DataKey {
    Admin,
    Executor,
    Paused,
    PendingAdmin,
    Schema,
    Tokens,
    /// Persistent, one for each token: the last day on which it moved, and how
    /// much on that day. Never temporary: it would end while its day still runs
    /// on a network that closes ledgers faster.
    Moved(Address),
}

/// A day, counted from 1970-01-01 UTC, and what moved on it.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
struct MovedOn(u64, i128);

fn read<T: TryFromVal<Env, Val>>(env: &Env, key: &DataKey) -> T {
    env.storage()
        .instance()
        .get(key)
        .unwrap_or_else(|| panic_with_error!(env, AdminError::NotInitialized))
}

fn write<T: IntoVal<Env, Val>>(env: &Env, key: &DataKey, value: &T) {
    env.storage().instance().set(key, value);
}

pub fn initialize(env: &Env, admin: &Address, executor: &Address) {
    set_admin(env, admin);
    set_executor(env, executor);
    set_tokens(env, &Map::new(env));
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

pub fn tokens(env: &Env) -> Map<Address, Caps> {
    read(env, &DataKey::Tokens)
}

pub fn set_tokens(env: &Env, tokens: &Map<Address, Caps>) {
    write(env, &DataKey::Tokens, tokens);
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
        executor: executor(env),
        paused: paused(env),
        pending_admin: pending_admin(env),
        schema: schema(env),
        tokens: tokens(env),
    }
}

fn today(env: &Env) -> u64 {
    env.ledger().timestamp() / DAY_SECONDS
}

/// What has moved of `token` since midnight UTC, by the ledger's close time.
pub fn moved_today(env: &Env, token: &Address) -> i128 {
    let stored = env
        .storage()
        .persistent()
        .get(&DataKey::Moved(token.clone()));
    match stored {
        Some(MovedOn(day, moved)) if day == today(env) => moved,
        _ => 0,
    }
}

/// Sets what has moved of `token` today, and keeps the entry alive.
pub fn set_moved_today(env: &Env, token: &Address, moved: i128) {
    let key = DataKey::Moved(token.clone());
    let max = env.storage().max_ttl();
    let storage = env.storage().persistent();
    storage.set(&key, &MovedOn(today(env), moved));
    storage.extend_ttl(&key, TTL_THRESHOLD_LEDGERS.min(max), TTL_LEDGERS.min(max));
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
        TTL_THRESHOLD_LEDGERS.min(max),
        TTL_LEDGERS.min(max),
    );
}
