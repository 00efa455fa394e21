//! Anchors of root-cause reports. The ledger holds SHA-256 hashes, never texts.
//!
//! The first anchor stands for ever. A dispute may lead to a corrected report:
//! it is appended as the next version and replaces nothing. A hash that is
//! anchored already, at whichever version, changes nothing: a late repetition of
//! the first report does not pass for a correction of the second.

use soroban_sdk::{panic_with_error, BytesN, Env, Symbol, Vec};

use crate::{events, DataKey, RcaAnchor, SlaError};

/// Keeps the entry of an outage well below the size limits of the network.
pub const VERSIONS_MAX: u32 = 16;

/// Anchors `hash` and answers its version.
pub fn anchor(env: &Env, outage_id: &Symbol, hash: &BytesN<32>) -> u32 {
    let mut anchors = history(env, outage_id);
    let known = anchors.iter().find(|anchored| anchored.hash == *hash);
    let version = match known {
        Some(anchored) => anchored.version,
        None => {
            if anchors.len() >= VERSIONS_MAX {
                panic_with_error!(env, SlaError::RcaFull);
            }
            let version = anchors.len().saturating_add(1);
            anchors.push_back(RcaAnchor {
                hash: hash.clone(),
                ledger: env.ledger().sequence(),
                version,
            });
            env.storage()
                .persistent()
                .set(&DataKey::Rca(outage_id.clone()), &anchors);
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
    env.storage()
        .persistent()
        .get(&DataKey::Rca(outage_id.clone()))
        .unwrap_or_else(|| Vec::new(env))
}
