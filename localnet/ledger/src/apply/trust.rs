//! Trustlines and what an issuer may do with them.

use stellar_xdr::{
    AccountFlags, AccountId, Asset, ChangeTrustAsset, ChangeTrustOp, ChangeTrustResult, ClawbackOp,
    ClawbackResult, LedgerEntryData, OperationResult, OperationResultTr as R, SetTrustLineFlagsOp,
    SetTrustLineFlagsResult, TrustLineEntry, TrustLineEntryExt, TrustLineFlags,
};

use super::{sponsorship, Outcome, Scope};
use crate::account;
use crate::events;
use crate::xdr;

const AUTHORIZED: u32 = TrustLineFlags::AuthorizedFlag as u32;
const MAINTAIN: u32 = TrustLineFlags::AuthorizedToMaintainLiabilitiesFlag as u32;
const CLAWBACK: u32 = TrustLineFlags::TrustlineClawbackEnabledFlag as u32;

fn failed(result: ChangeTrustResult) -> OperationResult {
    OperationResult::OpInner(R::ChangeTrust(result))
}

fn line_asset(line: &ChangeTrustAsset) -> Option<Asset> {
    match line {
        ChangeTrustAsset::Native => Some(Asset::Native),
        ChangeTrustAsset::CreditAlphanum4(a) => Some(Asset::CreditAlphanum4(a.clone())),
        ChangeTrustAsset::CreditAlphanum12(a) => Some(Asset::CreditAlphanum12(a.clone())),
        ChangeTrustAsset::PoolShare(_) => None,
    }
}

pub(super) fn check_change_trust(
    op: &ChangeTrustOp,
    source: &AccountId,
) -> Result<(), OperationResult> {
    let Some(asset) = line_asset(&op.line) else {
        return Err(OperationResult::OpNotSupported);
    };
    let malformed = op.limit < 0
        || asset == Asset::Native
        || !xdr::asset_is_valid(&asset)
        || xdr::asset_issuer(&asset) == Some(source);
    if malformed {
        return Err(failed(ChangeTrustResult::Malformed));
    }
    Ok(())
}

pub(super) fn change_trust(scope: &mut Scope, op: &ChangeTrustOp) -> Outcome {
    use ChangeTrustResult as C;
    let Some(asset) = line_asset(&op.line) else {
        return Err(OperationResult::OpNotSupported);
    };
    let line = xdr::trustline_asset(&asset);
    let owner = scope.source.clone();
    let issuer = xdr::asset_issuer(&asset)
        .and_then(|i| scope.txn.state().account(i))
        .cloned();
    match scope.txn.state().trustline(&owner, &line).cloned() {
        Some(mut entry) => {
            let least = i64::MAX
                - account::line_receivable(&TrustLineEntry {
                    limit: i64::MAX,
                    ..entry.clone()
                });
            if op.limit < least {
                return Err(failed(C::InvalidLimit));
            }
            if op.limit == 0 {
                let key = xdr::trustline_key(&owner, &line);
                sponsorship::release_entry(scope, &key, Some(&owner), 1);
                scope.txn.remove(&key);
            } else {
                if issuer.is_none() {
                    return Err(failed(C::NoIssuer));
                }
                entry.limit = op.limit;
                scope.txn.put_trustline(entry);
            }
        }
        None => {
            if op.limit == 0 {
                return Err(failed(C::InvalidLimit));
            }
            let Some(issuer) = issuer else {
                return Err(failed(C::NoIssuer));
            };
            let ext = sponsorship::reserve_subentry(scope, &owner)
                .map_err(|e| e.as_result(failed(C::LowReserve)))?;
            let mut flags = 0;
            if issuer.flags & AccountFlags::RequiredFlag as u32 == 0 {
                flags |= AUTHORIZED;
            }
            if issuer.flags & AccountFlags::ClawbackEnabledFlag as u32 != 0 {
                flags |= CLAWBACK;
            }
            let entry = TrustLineEntry {
                account_id: owner,
                asset: line,
                balance: 0,
                limit: op.limit,
                flags,
                ext: TrustLineEntryExt::V0,
            };
            scope.txn.put(LedgerEntryData::Trustline(entry), Some(ext));
        }
    }
    Ok(R::ChangeTrust(C::Success))
}

fn flags_failed(result: SetTrustLineFlagsResult) -> OperationResult {
    OperationResult::OpInner(R::SetTrustLineFlags(result))
}

pub(super) fn check_flags(
    op: &SetTrustLineFlagsOp,
    source: &AccountId,
) -> Result<(), OperationResult> {
    let known = AUTHORIZED | MAINTAIN | CLAWBACK;
    let malformed = xdr::asset_issuer(&op.asset) != Some(source)
        || !xdr::asset_is_valid(&op.asset)
        || op.trustor == *source
        || op.set_flags & op.clear_flags != 0
        || (op.set_flags | op.clear_flags) & !known != 0
        || op.set_flags & CLAWBACK != 0
        || op.set_flags & AUTHORIZED != 0 && op.set_flags & MAINTAIN != 0;
    if malformed {
        return Err(flags_failed(SetTrustLineFlagsResult::Malformed));
    }
    Ok(())
}

pub(super) fn set_trust_line_flags(scope: &mut Scope, op: &SetTrustLineFlagsOp) -> Outcome {
    use SetTrustLineFlagsResult as S;
    let asset = xdr::trustline_asset(&op.asset);
    let Some(mut line) = scope.txn.state().trustline(&op.trustor, &asset).cloned() else {
        return Err(flags_failed(S::NoTrustLine));
    };
    let flags = (line.flags & !op.clear_flags) | op.set_flags;
    if flags & AUTHORIZED != 0 && flags & MAINTAIN != 0 {
        return Err(flags_failed(S::InvalidState));
    }
    let revocable = scope.source_account().flags & AccountFlags::RevocableFlag as u32 != 0;
    let was = line.flags & (AUTHORIZED | MAINTAIN);
    let revokes = was & AUTHORIZED != 0 && flags & AUTHORIZED == 0
        || was != 0 && flags & (AUTHORIZED | MAINTAIN) == 0;
    if revokes && !revocable {
        return Err(flags_failed(S::CantRevoke));
    }
    line.flags = flags;
    scope.txn.put_trustline(line);
    Ok(R::SetTrustLineFlags(S::Success))
}

fn clawback_failed(result: ClawbackResult) -> OperationResult {
    OperationResult::OpInner(R::Clawback(result))
}

pub(super) fn check_clawback(op: &ClawbackOp, source: &AccountId) -> Result<(), OperationResult> {
    let malformed = op.amount < 1
        || xdr::asset_issuer(&op.asset) != Some(source)
        || !xdr::asset_is_valid(&op.asset)
        || xdr::demux(&op.from) == *source;
    if malformed {
        return Err(clawback_failed(ClawbackResult::Malformed));
    }
    Ok(())
}

pub(super) fn clawback(scope: &mut Scope, op: &ClawbackOp) -> Outcome {
    use ClawbackResult as C;
    let asset = xdr::trustline_asset(&op.asset);
    let from = xdr::demux(&op.from);
    let Some(mut line) = scope.txn.state().trustline(&from, &asset).cloned() else {
        return Err(clawback_failed(C::NoTrust));
    };
    if line.flags & CLAWBACK == 0 {
        return Err(clawback_failed(C::NotClawbackEnabled));
    }
    if account::line_available(&line) < op.amount {
        return Err(clawback_failed(C::Underfunded));
    }
    line.balance -= op.amount;
    scope.txn.put_trustline(line);
    let event = events::clawback(scope, &op.asset, &op.from, op.amount);
    scope.trace.events.push(event);
    Ok(R::Clawback(C::Success))
}
