//! Reserves: an account's own, or a sponsor's.

use stellar_xdr::{
    AccountEntry, AccountId, BeginSponsoringFutureReservesOp, BeginSponsoringFutureReservesResult,
    EndSponsoringFutureReservesResult, LedgerEntryExt, LedgerEntryExtensionV1,
    LedgerEntryExtensionV1Ext, LedgerKey, OperationResult, OperationResultTr as R,
    SponsorshipDescriptor,
};

use super::{Outcome, Scope};
use crate::account;
use crate::config::BASE_RESERVE;

/// Subentries that one account may have.
const SUBENTRIES_MAX: u32 = 1_000;

/// Why a reserve could not be made.
pub(super) enum ReserveFailure {
    /// Who must pay can't.
    LowReserve,
    /// The account is full.
    TooManySubentries,
}

impl ReserveFailure {
    /// The operation's own word for a low reserve; the other has one for all.
    pub(super) fn as_result(&self, low_reserve: OperationResult) -> OperationResult {
        match self {
            Self::LowReserve => low_reserve,
            Self::TooManySubentries => OperationResult::OpTooManySubentries,
        }
    }
}

impl Scope<'_> {
    /// The operation's source; it was checked to exist, and only merging, the
    /// last thing an operation does, removes it.
    pub(super) fn source_account(&self) -> AccountEntry {
        self.txn
            .state()
            .account(&self.source)
            .cloned()
            .expect("the operation's source exists")
    }
}

/// The extension of an entry that somebody else pays for.
pub(super) fn ext(sponsor: &AccountId) -> LedgerEntryExt {
    LedgerEntryExt::V1(LedgerEntryExtensionV1 {
        sponsoring_id: SponsorshipDescriptor(Some(sponsor.clone())),
        ext: LedgerEntryExtensionV1Ext::V0,
    })
}

fn sponsor_of(ext: &LedgerEntryExt) -> Option<&AccountId> {
    match ext {
        LedgerEntryExt::V0 => None,
        LedgerEntryExt::V1(e) => e.sponsoring_id.0.as_ref(),
    }
}

/// Makes a sponsor pay for so many reserves more.
pub(super) fn take_on(
    scope: &mut Scope,
    sponsor: &AccountId,
    units: u32,
) -> Result<(), ReserveFailure> {
    let Some(mut entry) = scope.txn.state().account(sponsor).cloned() else {
        return Err(ReserveFailure::LowReserve);
    };
    if account::available_balance(&entry) < i64::from(units) * i64::from(BASE_RESERVE) {
        return Err(ReserveFailure::LowReserve);
    }
    account::v2_mut(&mut entry).num_sponsoring += units;
    scope.txn.put_account(entry);
    Ok(())
}

/// Frees reserves of a sponsor.
pub(super) fn let_go(scope: &mut Scope, sponsor: &AccountId, units: u32) {
    if let Some(mut entry) = scope.txn.state().account(sponsor).cloned() {
        let v2 = account::v2_mut(&mut entry);
        v2.num_sponsoring = v2.num_sponsoring.saturating_sub(units);
        scope.txn.put_account(entry);
    }
}

/// Counts one subentry more for its owner, paid by the owner or by the sponsor
/// that is open for it. Gives the entry's extension.
pub(super) fn reserve_subentry(
    scope: &mut Scope,
    owner: &AccountId,
) -> Result<LedgerEntryExt, ReserveFailure> {
    let sponsor = scope.sponsorships.get(owner).cloned();
    if let Some(sponsor) = &sponsor {
        take_on(scope, sponsor, 1)?;
    }
    let Some(mut entry) = scope.txn.state().account(owner).cloned() else {
        return Err(ReserveFailure::LowReserve);
    };
    if entry.num_sub_entries >= SUBENTRIES_MAX {
        return Err(ReserveFailure::TooManySubentries);
    }
    entry.num_sub_entries += 1;
    if sponsor.is_some() {
        account::v2_mut(&mut entry).num_sponsored += 1;
    } else if account::available_balance(&entry) < 0 {
        return Err(ReserveFailure::LowReserve);
    }
    scope.txn.put_account(entry);
    Ok(sponsor.as_ref().map_or(LedgerEntryExt::V0, ext))
}

/// Frees what an entry that is about to be removed has reserved. An account's
/// own entry has no owner beside itself.
pub(super) fn release_entry(
    scope: &mut Scope,
    key: &LedgerKey,
    owner: Option<&AccountId>,
    units: u32,
) {
    let sponsor = scope
        .txn
        .state()
        .get(key)
        .and_then(|s| sponsor_of(&s.entry.ext).cloned());
    if let Some(sponsor) = &sponsor {
        let_go(scope, sponsor, units);
    }
    if let Some(mut entry) = owner.and_then(|o| scope.txn.state().account(o).cloned()) {
        entry.num_sub_entries = entry.num_sub_entries.saturating_sub(1);
        if sponsor.is_some() {
            let v2 = account::v2_mut(&mut entry);
            v2.num_sponsored = v2.num_sponsored.saturating_sub(units);
        }
        scope.txn.put_account(entry);
    }
}

fn begin_failed(result: BeginSponsoringFutureReservesResult) -> OperationResult {
    OperationResult::OpInner(R::BeginSponsoringFutureReserves(result))
}

pub(super) fn check_begin(
    op: &BeginSponsoringFutureReservesOp,
    source: &AccountId,
) -> Result<(), OperationResult> {
    if op.sponsored_id == *source {
        return Err(begin_failed(BeginSponsoringFutureReservesResult::Malformed));
    }
    Ok(())
}

pub(super) fn begin(scope: &mut Scope, op: &BeginSponsoringFutureReservesOp) -> Outcome {
    use BeginSponsoringFutureReservesResult as B;
    if scope.sponsorships.contains_key(&op.sponsored_id) {
        return Err(begin_failed(B::AlreadySponsored));
    }
    let recursive = scope.sponsorships.contains_key(&scope.source)
        || scope.sponsorships.values().any(|s| *s == op.sponsored_id);
    if recursive {
        return Err(begin_failed(B::Recursive));
    }
    scope
        .sponsorships
        .insert(op.sponsored_id.clone(), scope.source.clone());
    Ok(R::BeginSponsoringFutureReserves(B::Success))
}

pub(super) fn end(scope: &mut Scope) -> Outcome {
    use EndSponsoringFutureReservesResult as E;
    match scope.sponsorships.remove(&scope.source) {
        Some(_) => Ok(R::EndSponsoringFutureReserves(E::Success)),
        None => Err(OperationResult::OpInner(R::EndSponsoringFutureReserves(
            E::NotSponsored,
        ))),
    }
}
