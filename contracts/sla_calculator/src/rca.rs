//! Anchors of root-cause reports. The ledger holds SHA-256 hashes, never texts.
//!
//! The first anchor stands for ever. A dispute may lead to a corrected report:
//! it is appended as the next version and replaces nothing. A hash that is
//! anchored already, at whichever version, changes nothing: a late repetition of
//! the first report does not pass for a correction of the second.

use soroban_sdk::{contracttype, panic_with_error, BytesN, Env, Symbol, Vec};

use crate::{events, DataKey, RcaAnchor, SlaError};

/// Keeps the entry of an outage well below the size limits of the network.
pub const VERSIONS_MAX: u32 = 16;

/// Anchors `hash` and answers its version.
pub fn anchor(env: &Env, outage_id: &Symbol, hash: &BytesN<32>) -> u32 {
    let mut stored = read(env, outage_id);
    let known = stored.iter().position(|anchored| anchored.0 == *hash);
    let version = match known {
        Some(position) => version(position),
        None => {
            if stored.len() >= VERSIONS_MAX {
                panic_with_error!(env, SlaError::RcaFull);
            }
            stored.push_back(Stored(hash.clone(), env.ledger().sequence()));
            let version = stored.len();
            env.storage()
                .persistent()
                .set(&DataKey::Rca(outage_id.clone()), &stored);
            events::RcaAnchored {
                outage_id: outage_id.clone(),
                hash: hash.clone(),
                version,
            }
            .publish(env);
            version
        }
    };
    let max = env.storage().max_ttl();
    env.storage()
        .persistent()
        .extend_ttl(&DataKey::Rca(outage_id.clone()), max, max);
    version
}

/// All versions, oldest first.
pub fn history(env: &Env, outage_id: &Symbol) -> Vec<RcaAnchor> {
    let mut anchors = Vec::new(env);
    for (position, Stored(hash, ledger)) in read(env, outage_id).iter().enumerate() {
        anchors.push_back(RcaAnchor {
            hash,
            ledger,
            version: version(position),
        });
    }
    anchors
}

/// Hash and ledger: the version is the place, and names would pay rent for ever.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored(pub BytesN<32>, pub u32);

fn read(env: &Env, outage_id: &Symbol) -> Vec<Stored> {
    env.storage()
        .persistent()
        .get(&DataKey::Rca(outage_id.clone()))
        .unwrap_or_else(|| Vec::new(env))
}

/// Counted from one.
fn version(position: usize) -> u32 {
    u32::try_from(position)
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}
