//! Flags, weights, thresholds, home domain, signers.

use stellar_xdr::{
    AccountEntry, AccountFlags, AccountId, OperationResult, OperationResultTr as R, SetOptionsOp,
    SetOptionsResult, Signer, SignerKey, SponsorshipDescriptor, Uint256,
};

use super::{sponsorship, Outcome, Scope};
use crate::account::{self, ThresholdLevel};
use crate::state::Txn;
use crate::tx::Tx;
use crate::xdr;

const ALL_FLAGS: u32 = 15;
const SIGNERS_MAX: usize = 20;

fn failed(result: SetOptionsResult) -> OperationResult {
    OperationResult::OpInner(R::SetOptions(result))
}

pub(super) fn threshold_level(op: &SetOptionsOp) -> ThresholdLevel {
    let high = op.master_weight.is_some()
        || op.low_threshold.is_some()
        || op.med_threshold.is_some()
        || op.high_threshold.is_some()
        || op.signer.is_some();
    if high {
        ThresholdLevel::High
    } else {
        ThresholdLevel::Medium
    }
}

pub(super) fn check_set_options(
    op: &SetOptionsOp,
    source: &AccountId,
) -> Result<(), OperationResult> {
    use SetOptionsResult as S;
    let (set, clear) = (op.set_flags.unwrap_or(0), op.clear_flags.unwrap_or(0));
    if (set | clear) & !ALL_FLAGS != 0 {
        return Err(failed(S::UnknownFlag));
    }
    if set & clear != 0 {
        return Err(failed(S::BadFlags));
    }
    let weights = [
        op.master_weight,
        op.low_threshold,
        op.med_threshold,
        op.high_threshold,
    ];
    if weights.iter().flatten().any(|w| *w > 255) {
        return Err(failed(S::ThresholdOutOfRange));
    }
    if let Some(signer) = &op.signer {
        let own =
            matches!(&signer.key, SignerKey::Ed25519(Uint256(k)) if k == xdr::key_bytes(source));
        let empty =
            matches!(&signer.key, SignerKey::Ed25519SignedPayload(p) if p.payload.is_empty());
        if own || empty || signer.weight > 255 {
            return Err(failed(S::BadSigner));
        }
    }
    if let Some(domain) = &op.home_domain {
        let printable = |b: &u8| b.is_ascii() && !b.is_ascii_control();
        if !domain.0.as_slice().iter().all(printable) {
            return Err(failed(S::InvalidHomeDomain));
        }
    }
    Ok(())
}

pub(super) fn set_options(scope: &mut Scope, op: &SetOptionsOp) -> Outcome {
    use SetOptionsResult as S;
    let mut source = scope.source_account();
    if let Some(destination) = &op.inflation_dest {
        if scope.txn.state().account(destination).is_none() {
            return Err(failed(S::InvalidInflation));
        }
        source.inflation_dest = Some(destination.clone());
    }
    let (set, clear) = (op.set_flags.unwrap_or(0), op.clear_flags.unwrap_or(0));
    let immutable = source.flags & AccountFlags::ImmutableFlag as u32 != 0;
    if immutable && set | clear != 0 {
        return Err(failed(S::CantChange));
    }
    source.flags = (source.flags & !clear) | set;
    let clawback = source.flags & AccountFlags::ClawbackEnabledFlag as u32 != 0;
    let revocable = source.flags & AccountFlags::RevocableFlag as u32 != 0;
    if clawback && !revocable {
        return Err(failed(S::AuthRevocableRequired));
    }
    if let Some(domain) = &op.home_domain {
        source.home_domain = domain.clone();
    }
    let weights = [
        op.master_weight,
        op.low_threshold,
        op.med_threshold,
        op.high_threshold,
    ];
    for (slot, weight) in source.thresholds.0.iter_mut().zip(weights) {
        if let Some(weight) = weight {
            *slot = weight as u8;
        }
    }
    scope.txn.put_account(source);
    if let Some(signer) = &op.signer {
        if signer.weight == 0 {
            let source = scope.source.clone();
            remove_signer(&mut scope.txn, &source, &signer.key);
        } else {
            put_signer(scope, signer)?;
        }
    }
    Ok(R::SetOptions(S::Success))
}

fn put_signer(scope: &mut Scope, signer: &Signer) -> Result<(), OperationResult> {
    use SetOptionsResult as S;
    let mut source = scope.source_account();
    let at = source.signers.iter().position(|s| s.key == signer.key);
    let mut signers = source.signers.to_vec();
    if let Some(at) = at {
        signers[at].weight = signer.weight;
        source.signers = signers.try_into().expect("as many as before");
        scope.txn.put_account(source);
        return Ok(());
    }
    if signers.len() >= SIGNERS_MAX {
        return Err(failed(S::TooManySigners));
    }
    let owner = scope.source.clone();
    sponsorship::reserve_subentry(scope, &owner).map_err(|e| e.as_result(failed(S::LowReserve)))?;
    let sponsor = scope.sponsorships.get(&owner).cloned();
    let mut source = scope.source_account();
    // Signers are kept in the order of their keys; descriptors follow them.
    let at = signers.partition_point(|s| s.key < signer.key);
    let v2 = account::v2_mut(&mut source);
    let mut sponsors = v2.signer_sponsoring_i_ds.to_vec();
    sponsors.insert(at, SponsorshipDescriptor(sponsor));
    v2.signer_sponsoring_i_ds = sponsors.try_into().expect("at most 20 signers");
    signers.insert(at, signer.clone());
    source.signers = signers.try_into().expect("at most 20 signers");
    scope.txn.put_account(source);
    Ok(())
}

/// Removes a signer and frees its reserve; one that is not there is no failure.
fn remove_signer(txn: &mut Txn, owner: &AccountId, key: &SignerKey) {
    let Some(mut entry) = txn.state().account(owner).cloned() else {
        return;
    };
    let Some(at) = entry.signers.iter().position(|s| s.key == *key) else {
        return;
    };
    let sponsor = account::signer_sponsor(&entry, at);
    {
        let v2 = account::v2_mut(&mut entry);
        let mut sponsors = v2.signer_sponsoring_i_ds.to_vec();
        sponsors.remove(at);
        v2.signer_sponsoring_i_ds = sponsors.try_into().expect("fewer than before");
        if sponsor.is_some() {
            v2.num_sponsored = v2.num_sponsored.saturating_sub(1);
        }
    }
    let mut signers = entry.signers.to_vec();
    signers.remove(at);
    entry.signers = signers.try_into().expect("fewer than before");
    entry.num_sub_entries = entry.num_sub_entries.saturating_sub(1);
    txn.put_account(entry);
    if let Some(mut entry) = sponsor.and_then(|s| txn.state().account(&s).cloned()) {
        let v2 = account::v2_mut(&mut entry);
        v2.num_sponsoring = v2.num_sponsoring.saturating_sub(1);
        txn.put_account(entry);
    }
}

/// A pre-authorized transaction's signer goes with the transaction.
pub(super) fn remove_one_time_signers(txn: &mut Txn, tx: &Tx) {
    let key = SignerKey::PreAuthTx(Uint256(tx.inner_hash));
    let mut owners = vec![tx.source()];
    owners.extend(tx.operations().iter().map(|op| tx.operation_source(op)));
    for owner in owners {
        remove_signer(txn, &owner, &key);
    }
}

/// Frees the sponsors of all signers of an account that is about to go.
pub(super) fn release_all_signers(scope: &mut Scope, source: &AccountEntry) {
    for at in 0..source.signers.len() {
        if let Some(sponsor) = account::signer_sponsor(source, at) {
            sponsorship::let_go(scope, &sponsor, 1);
        }
    }
}
