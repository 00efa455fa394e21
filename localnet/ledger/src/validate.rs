//! Is a transaction valid on a state? The order of checks is core's, because
//! the first failure is the answer that a client sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use soroban_env_host::fees::{compute_transaction_resource_fee, TransactionResources};
use stellar_xdr::{
    AccountId, InnerTransactionResult, InnerTransactionResultExt, InnerTransactionResultPair,
    InnerTransactionResultResult as Code, LedgerKey, MuxedAccount, OperationBody, OperationResult,
    Signer, SorobanResources, SorobanTransactionDataExt, TransactionResult, TransactionResultExt,
    TransactionResultResult,
};

use crate::account::{self, ThresholdLevel};
use crate::apply;
use crate::config::Network;
use crate::signatures::SignatureChecker;
use crate::state::State;
use crate::tx::{is_soroban_operation, Tx};
use crate::xdr;

/// The ledger that a transaction would land in.
#[derive(Clone)]
pub struct LedgerContext {
    /// Its sequence.
    pub seq: u32,
    /// Its close time.
    pub close_time: u64,
    /// sha256 of the passphrase.
    pub network_id: [u8; 32],
    /// Settings.
    pub network: Arc<Network>,
}

/// How far a transaction came: what it consumes depends on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing is consumed.
    Invalid,
    /// The sequence number is consumed.
    UpdateSeqNum,
    /// Its signatures were right.
    PostAuth,
    /// Operations may run.
    MaybeValid,
}

/// Puts an inner code where an outer result goes.
pub fn as_outer(code: Code) -> TransactionResultResult {
    use TransactionResultResult as R;
    match code {
        Code::TxSuccess(ops) => R::TxSuccess(ops),
        Code::TxFailed(ops) => R::TxFailed(ops),
        Code::TxTooEarly => R::TxTooEarly,
        Code::TxTooLate => R::TxTooLate,
        Code::TxMissingOperation => R::TxMissingOperation,
        Code::TxBadSeq => R::TxBadSeq,
        Code::TxBadAuth => R::TxBadAuth,
        Code::TxInsufficientBalance => R::TxInsufficientBalance,
        Code::TxNoAccount => R::TxNoAccount,
        Code::TxInsufficientFee => R::TxInsufficientFee,
        Code::TxBadAuthExtra => R::TxBadAuthExtra,
        Code::TxInternalError => R::TxInternalError,
        Code::TxNotSupported => R::TxNotSupported,
        Code::TxBadSponsorship => R::TxBadSponsorship,
        Code::TxBadMinSeqAgeOrGap => R::TxBadMinSeqAgeOrGap,
        Code::TxMalformed => R::TxMalformed,
        Code::TxSorobanInvalid => R::TxSorobanInvalid,
        Code::TxFrozenKeyAccessed => R::TxFrozenKeyAccessed,
    }
}

/// The whole result of an inner code, wrapped where there is a fee bump.
pub fn result_of(tx: &Tx, code: Code, fee_charged: i64) -> TransactionResult {
    use TransactionResultResult as R;
    let result = if tx.fee_bump.is_some() {
        let success = matches!(code, Code::TxSuccess(_));
        let pair = InnerTransactionResultPair {
            transaction_hash: stellar_xdr::Hash(tx.inner_hash),
            result: InnerTransactionResult {
                fee_charged: 0,
                result: code,
                ext: InnerTransactionResultExt::V0,
            },
        };
        if success {
            R::TxFeeBumpInnerSuccess(pair)
        } else {
            R::TxFeeBumpInnerFailed(pair)
        }
    } else {
        as_outer(code)
    };
    outer_result(result, fee_charged)
}

/// A result that concerns the outer transaction itself.
pub fn outer_result(result: TransactionResultResult, fee_charged: i64) -> TransactionResult {
    TransactionResult {
        fee_charged,
        result,
        ext: TransactionResultExt::V0,
    }
}

/// Checks a transaction for the queue; the error is what the client gets.
pub fn check_valid(state: &State, tx: &Tx, ctx: &LedgerContext) -> Result<(), TransactionResult> {
    let fee = |code| outer_result(code, tx.full_fee().min(tx.fee_to_charge()));
    if let Some(bump) = &tx.fee_bump {
        check_fee_bump(state, tx, bump).map_err(fee)?;
    }
    check_inner(state, tx, ctx).map_err(|code| result_of(tx, code, tx.fee_to_charge().max(0)))
}

fn check_fee_bump(
    state: &State,
    tx: &Tx,
    bump: &crate::tx::FeeBump,
) -> Result<(), TransactionResultResult> {
    use TransactionResultResult as R;
    if tx.inclusion_fee() < tx.min_inclusion_fee() {
        return Err(R::TxInsufficientFee);
    }
    // The outer bid per operation may not be below the inner one.
    let outer = i128::from(tx.inclusion_fee()) * i128::from(tx.inner_min_inclusion_fee());
    let inner = i128::from(tx.inner_inclusion_fee()) * i128::from(tx.min_inclusion_fee());
    if outer < inner {
        return Err(R::TxInsufficientFee);
    }
    let Some(source) = state.account(&bump.source) else {
        return Err(R::TxNoAccount);
    };
    let checker = SignatureChecker::new(bump.hash, &bump.signatures);
    let needed = account::needed_weight(source, ThresholdLevel::Low);
    if !checker.check(&account::all_signers(source), u32::from(needed)) {
        return Err(R::TxBadAuth);
    }
    if account::available_balance(source) < bump.fee {
        return Err(R::TxInsufficientBalance);
    }
    if !checker.all_used() {
        return Err(R::TxBadAuthExtra);
    }
    Ok(())
}

fn check_inner(state: &State, tx: &Tx, ctx: &LedgerContext) -> Result<(), Code> {
    let checker = SignatureChecker::new(tx.inner_hash, &tx.signatures);
    let (_, failure) = common_valid(state, tx, ctx, &checker, false);
    if let Some(code) = failure {
        return Err(code);
    }
    check_operations(state, tx, ctx, &checker)?;
    if !checker.all_used() {
        return Err(Code::TxBadAuthExtra);
    }
    Ok(())
}

/// Signatures and form of every operation.
fn check_operations(
    state: &State,
    tx: &Tx,
    ctx: &LedgerContext,
    checker: &SignatureChecker,
) -> Result<(), Code> {
    let mut results = Vec::new();
    let mut failed = false;
    for op in tx.operations() {
        let source = tx.operation_source(op);
        let check = check_operation_signature(state, op, &source, checker)
            .and_then(|()| apply::check_operation(&op.body, &source, tx, ctx));
        failed |= check.is_err();
        results.push(match check {
            Ok(()) => OperationResult::OpInner(apply::blank_result(&op.body)),
            Err(result) => result,
        });
    }
    if failed {
        return Err(Code::TxFailed(results.try_into().unwrap_or_default()));
    }
    Ok(())
}

/// Whether an operation's own source has signed with enough weight.
pub fn check_operation_signature(
    state: &State,
    op: &stellar_xdr::Operation,
    source: &AccountId,
    checker: &SignatureChecker,
) -> Result<(), OperationResult> {
    let Some(entry) = state.account(source) else {
        // An account that an earlier operation makes signs with its bare key.
        if op.source_account.is_none() {
            return Err(OperationResult::OpNoAccount);
        }
        return if checker.check_no_account(source) {
            Ok(())
        } else {
            Err(OperationResult::OpBadAuth)
        };
    };
    let needed = account::needed_weight(entry, apply::threshold_level(&op.body));
    if checker.check(&account::all_signers(entry), u32::from(needed)) {
        Ok(())
    } else {
        Err(OperationResult::OpBadAuth)
    }
}

/// Everything that concerns the transaction as a whole. While applying, the
/// balance was already charged and is not looked at again.
pub fn common_valid(
    state: &State,
    tx: &Tx,
    ctx: &LedgerContext,
    checker: &SignatureChecker,
    applying: bool,
) -> (Level, Option<Code>) {
    let source_id = tx.source();
    let source = match check_before_sequence(state, tx, ctx, &source_id) {
        Ok(source) => source,
        Err(code) => return (Level::Invalid, Some(code)),
    };
    if bad_sequence(source.seq_num.0, tx, ctx) {
        return (Level::Invalid, Some(Code::TxBadSeq));
    }
    let (age, gap) = tx.min_seq_age_and_gap();
    let (seq_ledger, seq_time) = account::seq_age(source);
    let too_young =
        ctx.close_time.saturating_sub(seq_time) < age || ctx.seq.saturating_sub(seq_ledger) < gap;
    if too_young {
        return (Level::UpdateSeqNum, Some(Code::TxBadMinSeqAgeOrGap));
    }
    let needed = account::needed_weight(source, ThresholdLevel::Low);
    if !checker.check(&account::all_signers(source), u32::from(needed)) {
        return (Level::UpdateSeqNum, Some(Code::TxBadAuth));
    }
    for key in tx.extra_signers() {
        let signer = Signer {
            key: key.clone(),
            weight: 1,
        };
        if !checker.check(&[signer], 1) {
            return (Level::UpdateSeqNum, Some(Code::TxBadAuth));
        }
    }
    let pays = !applying && tx.fee_bump.is_none();
    if pays && account::available_balance(source) < tx.inner_full_fee() {
        return (Level::PostAuth, Some(Code::TxInsufficientBalance));
    }
    (Level::MaybeValid, None)
}

fn bad_sequence(current: i64, tx: &Tx, ctx: &LedgerContext) -> bool {
    // A number that a new account could start at would let it replay.
    if tx.sequence() == i64::from(ctx.seq) << 32 {
        return true;
    }
    match tx.min_seq_num() {
        Some(least) => current < least || current >= tx.sequence(),
        None => current == i64::MAX || current + 1 != tx.sequence(),
    }
}

fn check_before_sequence<'s>(
    state: &'s State,
    tx: &Tx,
    ctx: &LedgerContext,
    source: &AccountId,
) -> Result<&'s stellar_xdr::AccountEntry, Code> {
    if let [a, b] = tx.extra_signers() {
        if a == b {
            return Err(Code::TxMalformed);
        }
    }
    if tx.operations().is_empty() {
        return Err(Code::TxMissingOperation);
    }
    check_soroban(tx, ctx)?;
    let time = tx.time_bounds();
    let ledger = tx.ledger_bounds();
    if time.is_some_and(|t| t.min_time.0 > ctx.close_time)
        || ledger.is_some_and(|l| l.min_ledger > ctx.seq)
    {
        return Err(Code::TxTooEarly);
    }
    if time.is_some_and(|t| t.max_time.0 != 0 && t.max_time.0 < ctx.close_time)
        || ledger.is_some_and(|l| l.max_ledger != 0 && l.max_ledger <= ctx.seq)
    {
        return Err(Code::TxTooLate);
    }
    let least = if tx.fee_bump.is_some() {
        0
    } else {
        tx.inner_min_inclusion_fee()
    };
    if tx.inner_inclusion_fee() < least {
        return Err(Code::TxInsufficientFee);
    }
    state.account(source).ok_or(Code::TxNoAccount)
}

fn check_soroban(tx: &Tx, ctx: &LedgerContext) -> Result<(), Code> {
    if !tx.is_soroban() {
        return match tx.soroban_data() {
            None => Ok(()),
            Some(_) => Err(Code::TxMalformed),
        };
    }
    if tx.operations().len() != 1 || !is_soroban_operation(&tx.operations()[0]) {
        return Err(Code::TxMalformed);
    }
    let Some(data) = tx.soroban_data() else {
        return Err(Code::TxMalformed);
    };
    let (non_refundable, refundable) = resource_fees(tx, ctx, 0).ok_or(Code::TxSorobanInvalid)?;
    let fees_fit = data.resource_fee >= non_refundable.saturating_add(refundable)
        && data.resource_fee <= tx.inner_full_fee();
    let memo_fits = !carries_muxed(tx);
    if fees_fit && memo_fits && resources_fit(tx, &data.resources, &data.ext, ctx) {
        Ok(())
    } else {
        Err(Code::TxSorobanInvalid)
    }
}

/// A contract call with a memo or a muxed source is refused: contracts see
/// neither, and a payment's reference would be lost without a word.
fn carries_muxed(tx: &Tx) -> bool {
    let is_muxed = |a: &MuxedAccount| matches!(a, MuxedAccount::MuxedEd25519(_));
    let call = tx
        .operations()
        .iter()
        .find(|op| matches!(op.body, OperationBody::InvokeHostFunction(_)));
    call.is_some_and(|op| {
        tx.has_memo()
            || is_muxed(&tx.tx.source_account)
            || op.source_account.as_ref().is_some_and(is_muxed)
    })
}

/// Declared resources against the network's limits.
fn resources_fit(
    tx: &Tx,
    resources: &SorobanResources,
    ext: &SorobanTransactionDataExt,
    ctx: &LedgerContext,
) -> bool {
    let limits = &ctx.network.limits;
    let (read_only, read_write) = (
        &resources.footprint.read_only,
        &resources.footprint.read_write,
    );
    let mut seen = BTreeSet::new();
    for key in read_only.iter().chain(read_write.iter()) {
        let kind_fits = matches!(
            key,
            LedgerKey::Account(_)
                | LedgerKey::Trustline(_)
                | LedgerKey::ContractData(_)
                | LedgerKey::ContractCode(_)
        );
        let size_fits = !matches!(key, LedgerKey::ContractData(_))
            || xdr::bytes(key).len() <= limits.key_size_bytes_max as usize;
        if !kind_fits || !size_fits || !seen.insert(key) {
            return false;
        }
    }
    let archived: &[u32] = match ext {
        SorobanTransactionDataExt::V0 => &[],
        SorobanTransactionDataExt::V1(e) => &e.archived_soroban_entries,
    };
    let archived_fit = archived.windows(2).all(|w| w[0] < w[1])
        && archived.iter().all(|i| {
            read_write
                .get(*i as usize)
                .is_some_and(apply::soroban::is_persistent)
        });
    archived_fit
        && i64::from(resources.instructions) <= ctx.network.config.tx_max_instructions
        && resources.disk_read_bytes <= limits.disk_read_bytes_max
        && resources.write_bytes <= limits.write_bytes_max
        && seen.len() <= limits.footprint_entries_max as usize
        && read_write.len() <= limits.write_entries_max as usize
        && disk_reads(resources, archived.len()) <= limits.disk_read_entries_max
        && tx.inner_size <= limits.tx_size_bytes_max
}

fn disk_reads(resources: &SorobanResources, archived: usize) -> u32 {
    let footprint = &resources.footprint;
    let classic = footprint
        .read_only
        .iter()
        .chain(footprint.read_write.iter())
        .filter(|k| crate::state::durability(k).is_none())
        .count();
    u32::try_from(classic + archived).unwrap_or(u32::MAX)
}

/// Resource fees (non-refundable, and refundable without rent) for declared
/// resources and events of a size.
pub fn resource_fees(tx: &Tx, ctx: &LedgerContext, events_size: u32) -> Option<(i64, i64)> {
    let data = tx.soroban_data()?;
    let resources = &data.resources;
    let archived = match &data.ext {
        SorobanTransactionDataExt::V0 => 0,
        SorobanTransactionDataExt::V1(e) => match &tx.operations().first()?.body {
            OperationBody::RestoreFootprint(_) => 0,
            _ => e.archived_soroban_entries.len(),
        },
    };
    let disk_read_entries = match &tx.operations().first()?.body {
        OperationBody::RestoreFootprint(_) => resources.footprint.read_write.len() as u32,
        _ => disk_reads(resources, archived),
    };
    Some(compute_transaction_resource_fee(
        &TransactionResources {
            instructions: resources.instructions,
            disk_read_entries,
            write_entries: resources.footprint.read_write.len() as u32,
            disk_read_bytes: resources.disk_read_bytes,
            write_bytes: resources.write_bytes,
            contract_events_size_bytes: events_size,
            transaction_size_bytes: tx.inner_size,
        },
        &ctx.network.config.fee_configuration,
    ))
}
