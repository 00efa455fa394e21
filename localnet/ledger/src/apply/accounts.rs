//! Accounts come, pay, bump and go.

use stellar_xdr::{
    AccountFlags, AccountId, AccountMergeResult, Asset, BumpSequenceOp, BumpSequenceResult,
    CreateAccountOp, CreateAccountResult, LedgerEntryData, MuxedAccount, OperationResult,
    OperationResultTr as R, PaymentOp, PaymentResult, SequenceNumber, TrustLineFlags,
};

use super::{options, sponsorship, Outcome, Scope};
use crate::account;
use crate::config::BASE_RESERVE;
use crate::events;
use crate::xdr;

fn fail(result: R) -> OperationResult {
    OperationResult::OpInner(result)
}

fn create_failed(result: CreateAccountResult) -> OperationResult {
    fail(R::CreateAccount(result))
}

pub(super) fn check_create_account(
    op: &CreateAccountOp,
    source: &AccountId,
) -> Result<(), OperationResult> {
    if op.starting_balance < 0 || op.destination == *source {
        return Err(create_failed(CreateAccountResult::Malformed));
    }
    Ok(())
}

pub(super) fn create_account(scope: &mut Scope, op: &CreateAccountOp) -> Outcome {
    use CreateAccountResult as C;
    if scope.txn.state().account(&op.destination).is_some() {
        return Err(create_failed(C::AlreadyExist));
    }
    let sponsor = scope.sponsorships.get(&op.destination).cloned();
    let mut entry =
        account::new_account(op.destination.clone(), op.starting_balance, scope.ctx.seq);
    let ext = match &sponsor {
        Some(sponsor) => {
            sponsorship::take_on(scope, sponsor, 2)
                .map_err(|e| e.as_result(create_failed(C::LowReserve)))?;
            account::v2_mut(&mut entry).num_sponsored = 2;
            sponsorship::ext(sponsor)
        }
        None if op.starting_balance < 2 * i64::from(BASE_RESERVE) => {
            return Err(create_failed(C::LowReserve));
        }
        None => stellar_xdr::LedgerEntryExt::V0,
    };
    let mut source = scope.source_account();
    if account::available_balance(&source) < op.starting_balance {
        return Err(create_failed(C::Underfunded));
    }
    source.balance -= op.starting_balance;
    scope.txn.put_account(source);
    scope.txn.put(LedgerEntryData::Account(entry), Some(ext));
    let event = events::transfer(
        scope,
        &Asset::Native,
        &MuxedAccount::Ed25519(stellar_xdr::Uint256(*xdr::key_bytes(&op.destination))),
        op.starting_balance,
    );
    scope.trace.events.push(event);
    Ok(R::CreateAccount(C::Success))
}

fn payment_failed(result: PaymentResult) -> OperationResult {
    fail(R::Payment(result))
}

pub(super) fn check_payment(op: &PaymentOp) -> Result<(), OperationResult> {
    if op.amount <= 0 || !xdr::asset_is_valid(&op.asset) {
        return Err(payment_failed(PaymentResult::Malformed));
    }
    Ok(())
}

pub(super) fn payment(scope: &mut Scope, op: &PaymentOp) -> Outcome {
    let destination = xdr::demux(&op.destination);
    let to_self = destination == scope.source && op.asset == Asset::Native;
    if !to_self {
        credit(scope, &destination, &op.asset, op.amount)?;
        debit(scope, &op.asset, op.amount)?;
    }
    let event = events::transfer(scope, &op.asset, &op.destination, op.amount);
    scope.trace.events.push(event);
    Ok(R::Payment(PaymentResult::Success))
}

fn credit(
    scope: &mut Scope,
    to: &AccountId,
    asset: &Asset,
    amount: i64,
) -> Result<(), OperationResult> {
    use PaymentResult as P;
    let is_issuer = xdr::asset_issuer(asset) == Some(to);
    let Some(entry) = scope.txn.state().account(to).cloned() else {
        // Tokens paid back to their issuer burn, whether or not it still exists.
        return if is_issuer {
            Ok(())
        } else {
            Err(payment_failed(P::NoDestination))
        };
    };
    if *asset == Asset::Native {
        if account::receivable(&entry) < amount {
            return Err(payment_failed(P::LineFull));
        }
        let mut entry = entry;
        entry.balance += amount;
        scope.txn.put_account(entry);
        return Ok(());
    }
    if is_issuer {
        return Ok(());
    }
    let asset = xdr::trustline_asset(asset);
    let Some(mut line) = scope.txn.state().trustline(to, &asset).cloned() else {
        return Err(payment_failed(P::NoTrust));
    };
    if line.flags & TrustLineFlags::AuthorizedFlag as u32 == 0 {
        return Err(payment_failed(P::NotAuthorized));
    }
    if account::line_receivable(&line) < amount {
        return Err(payment_failed(P::LineFull));
    }
    line.balance += amount;
    scope.txn.put_trustline(line);
    Ok(())
}

fn debit(scope: &mut Scope, asset: &Asset, amount: i64) -> Result<(), OperationResult> {
    use PaymentResult as P;
    if *asset == Asset::Native {
        let mut source = scope.source_account();
        if account::available_balance(&source) < amount {
            return Err(payment_failed(P::Underfunded));
        }
        source.balance -= amount;
        scope.txn.put_account(source);
        return Ok(());
    }
    if xdr::asset_issuer(asset) == Some(&scope.source) {
        return Ok(());
    }
    let asset = xdr::trustline_asset(asset);
    let Some(mut line) = scope.txn.state().trustline(&scope.source, &asset).cloned() else {
        return Err(payment_failed(P::SrcNoTrust));
    };
    if line.flags & TrustLineFlags::AuthorizedFlag as u32 == 0 {
        return Err(payment_failed(P::SrcNotAuthorized));
    }
    if account::line_available(&line) < amount {
        return Err(payment_failed(P::Underfunded));
    }
    line.balance -= amount;
    scope.txn.put_trustline(line);
    Ok(())
}

fn merge_failed(result: AccountMergeResult) -> OperationResult {
    fail(R::AccountMerge(result))
}

pub(super) fn check_merge(
    destination: &MuxedAccount,
    source: &AccountId,
) -> Result<(), OperationResult> {
    if xdr::demux(destination) == *source {
        return Err(merge_failed(AccountMergeResult::Malformed));
    }
    Ok(())
}

pub(super) fn account_merge(scope: &mut Scope, muxed: &MuxedAccount) -> Outcome {
    use AccountMergeResult as M;
    let destination = xdr::demux(muxed);
    if scope.txn.state().account(&destination).is_none() {
        return Err(merge_failed(M::NoAccount));
    }
    let source = scope.source_account();
    if source.flags & AccountFlags::ImmutableFlag as u32 != 0 {
        return Err(merge_failed(M::ImmutableSet));
    }
    if source.num_sub_entries as usize != source.signers.len() {
        return Err(merge_failed(M::HasSubEntries));
    }
    // The account could be made again in this ledger and replay old numbers.
    if source.seq_num.0 >= i64::from(scope.ctx.seq) << 32 {
        return Err(merge_failed(M::SeqnumTooFar));
    }
    let sponsors_now = scope.sponsorships.values().any(|s| *s == scope.source)
        || scope.sponsorships.contains_key(&scope.source);
    if sponsors_now || account::num_sponsoring(&source) > 0 {
        return Err(merge_failed(M::IsSponsor));
    }
    options::release_all_signers(scope, &source);
    let key = xdr::account_key(&scope.source);
    sponsorship::release_entry(scope, &key, None, 2);
    let Some(mut target) = scope.txn.state().account(&destination).cloned() else {
        return Err(merge_failed(M::NoAccount));
    };
    let amount = source.balance;
    if account::receivable(&target) < amount {
        return Err(merge_failed(M::DestFull));
    }
    target.balance += amount;
    scope.txn.put_account(target);
    scope.txn.remove(&key);
    if amount > 0 {
        let event = events::transfer(scope, &Asset::Native, muxed, amount);
        scope.trace.events.push(event);
    }
    Ok(R::AccountMerge(M::Success(amount)))
}

pub(super) fn check_bump_sequence(op: &BumpSequenceOp) -> Result<(), OperationResult> {
    if op.bump_to.0 < 0 {
        return Err(fail(R::BumpSequence(BumpSequenceResult::BadSeq)));
    }
    Ok(())
}

pub(super) fn bump_sequence(scope: &mut Scope, op: &BumpSequenceOp) -> Outcome {
    let mut source = scope.source_account();
    if op.bump_to.0 > source.seq_num.0 {
        source.seq_num = SequenceNumber(op.bump_to.0);
    }
    account::set_seq_age(&mut source, scope.ctx.seq, scope.ctx.close_time);
    scope.txn.put_account(source);
    Ok(R::BumpSequence(BumpSequenceResult::Success))
}
