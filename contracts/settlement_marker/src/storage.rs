use soroban_sdk::{
    panic_with_error, xdr::ToXdr, BytesN, Env, IntoVal, Symbol, TryFromVal, Val, Vec,
};

use crate::{Claim, Fresh, Marker, MarkerError, MarkerKey};

/// SHA-256 over the XDR of the `ScVal` `Vec[Symbol(function), arguments...]`.
///
/// The function's name is part of it, so that two functions of one contract
/// never take each other's ids for their own.
pub fn arguments_hash(env: &Env, function: &Symbol, arguments: &Vec<Val>) -> BytesN<32> {
    let mut hashed = arguments.clone();
    hashed.push_front(function.to_val());
    env.crypto().sha256(&hashed.to_xdr(env)).to_bytes()
}

/// Asks whether `id` may settle a call of `function` with `arguments` (all of
/// them but the id itself).
///
/// # Security
///
/// The caller must have been authorized before; see the crate's page.
///
/// # Errors
///
/// * [`MarkerError::IdVoided`] - the id was voided.
/// * [`MarkerError::IdReused`] - the id has settled other arguments.
pub fn claim(env: &Env, id: &BytesN<32>, function: &Symbol, arguments: &Vec<Val>) -> Claim {
    let args_hash = arguments_hash(env, function, arguments);
    let Some(marker) = get(env, id) else {
        return Claim::Fresh(Fresh {
            id: id.clone(),
            args_hash,
        });
    };
    if marker.voided {
        panic_with_error!(env, MarkerError::IdVoided);
    }
    if marker.args_hash != Some(args_hash) {
        panic_with_error!(env, MarkerError::IdReused);
    }
    extend_ttl(env, id);
    Claim::Replay(marker)
}

impl Fresh {
    /// Writes the marker: from here on the id answers `outcome` and pays no more.
    ///
    /// Call it in the same invocation that moves the money; the ledger then
    /// keeps either both or neither. `outcome` is a `#[contracttype]` tuple struct.
    ///
    /// # Errors
    ///
    /// * [`MarkerError::OutcomeUnreadable`] - it is something else.
    pub fn settle<T: IntoVal<Env, Val>>(self, env: &Env, outcome: &T) {
        let Ok(outcome) = Vec::try_from_val(env, &outcome.into_val(env)) else {
            panic_with_error!(env, MarkerError::OutcomeUnreadable);
        };
        write(
            env,
            &self.id,
            &Marker {
                args_hash: Some(self.args_hash),
                ledger: env.ledger().sequence(),
                outcome: Some(outcome),
                voided: false,
            },
        );
    }
}

/// Kills an unused id, so that it can never pay. Answers whether it was alive:
/// voiding a second time changes nothing.
///
/// # Security
///
/// The caller must have been authorized before; see the crate's page.
///
/// # Errors
///
/// * [`MarkerError::AlreadySettled`] - the id has paid.
pub fn void(env: &Env, id: &BytesN<32>) -> bool {
    match get(env, id) {
        Some(marker) if marker.voided => {
            extend_ttl(env, id);
            false
        }
        Some(_) => panic_with_error!(env, MarkerError::AlreadySettled),
        None => {
            write(
                env,
                id,
                &Marker {
                    args_hash: None,
                    ledger: env.ledger().sequence(),
                    outcome: None,
                    voided: true,
                },
            );
            true
        }
    }
}

impl Marker {
    /// The outcome as the tuple that was settled. (If that had another length, the
    /// host traps.)
    ///
    /// # Errors
    ///
    /// * [`MarkerError::OutcomeUnreadable`] - it was another tuple, or the id is void.
    pub fn read_outcome<T: TryFromVal<Env, Val>>(&self, env: &Env) -> T {
        self.outcome
            .as_ref()
            .and_then(|outcome| T::try_from_val(env, &outcome.to_val()).ok())
            .unwrap_or_else(|| panic_with_error!(env, MarkerError::OutcomeUnreadable))
    }
}

/// The marker of `id`, if there is one. Reads only.
pub fn get(env: &Env, id: &BytesN<32>) -> Option<Marker> {
    env.storage()
        .persistent()
        .get(&MarkerKey::Marker(id.clone()))
}

fn write(env: &Env, id: &BytesN<32>, marker: &Marker) {
    env.storage()
        .persistent()
        .set(&MarkerKey::Marker(id.clone()), marker);
    extend_ttl(env, id);
}

/// To the greatest TTL that the network knows. An archived marker still blocks
/// its id (a transaction must restore it first), but nobody should have to.
fn extend_ttl(env: &Env, id: &BytesN<32>) {
    let max = env.storage().max_ttl();
    env.storage()
        .persistent()
        .extend_ttl(&MarkerKey::Marker(id.clone()), max, max);
}
