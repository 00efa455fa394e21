//! Operations: one file a group. Each operation has a check that needs no state
//! (it runs before queueing too) and an application.

mod accounts;
mod data;
mod options;
pub mod soroban;
mod sponsorship;
mod trust;

use std::collections::BTreeMap;

use stellar_xdr::{
    AccountId, ContractEvent, DiagnosticEvent, Hash, InnerTransactionResultResult as Code,
    LedgerEntryChanges, Operation, OperationBody, OperationResult, OperationResultTr, ScVal,
    SequenceNumber,
};

use crate::account::{self, ThresholdLevel};
use crate::host::ContractHost;
use crate::signatures::SignatureChecker;
use crate::state::Txn;
use crate::tx::Tx;
use crate::validate::{self, check_operation_signature, LedgerContext, Level};

/// An operation's end: its result, or the failure that undoes the transaction.
pub type Outcome = Result<OperationResultTr, OperationResult>;

/// Fees of a contract transaction that depend on what it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceCharge {
    /// Non-refundable part.
    pub non_refundable: i64,
    /// Events and the like, as consumed.
    pub refundable: i64,
    /// Rent, as consumed.
    pub rent: i64,
}

/// What one operation left beside its changes.
#[derive(Default)]
pub struct OperationTrace {
    /// Contract and asset events.
    pub events: Vec<ContractEvent>,
    /// What the host tells for debugging.
    pub diagnostics: Vec<DiagnosticEvent>,
    /// A contract call's return value.
    pub return_value: Option<ScVal>,
    /// Consumed refundable fees.
    pub charge: Option<ResourceCharge>,
}

/// What applying one transaction gave.
pub struct Applied {
    /// Result of the inner transaction.
    pub code: Code,
    /// Changes before the operations: sequence number, one-time signers.
    pub changes_before: LedgerEntryChanges,
    /// Changes and events of each operation; empty on failure.
    pub operations: Vec<(LedgerEntryChanges, Vec<ContractEvent>)>,
    /// Diagnostics, on failure too.
    pub diagnostics: Vec<DiagnosticEvent>,
    /// A contract call's return value.
    pub return_value: Option<ScVal>,
    /// What a contract transaction consumed; `None` where it never ran.
    pub charge: Option<ResourceCharge>,
}

/// Everything that an operation works on.
pub struct Scope<'a> {
    /// The operation's own nested transaction.
    pub txn: Txn,
    /// The ledger being closed.
    pub ctx: &'a LedgerContext,
    /// The transaction.
    pub tx: &'a Tx,
    /// Source of the operation.
    pub source: AccountId,
    /// Open sponsorships: who is sponsored, and by whom.
    pub sponsorships: &'a mut BTreeMap<AccountId, AccountId>,
    /// The contract host.
    pub host: &'a ContractHost,
    /// Seed for contracts' randomness.
    pub seed: [u8; 32],
    /// What the operation leaves.
    pub trace: OperationTrace,
}

/// Applies one transaction whose fee was charged. What it changes is in `txn`.
pub fn apply_transaction(
    txn: &mut Txn,
    tx: &Tx,
    ctx: &LedgerContext,
    host: &ContractHost,
    seed: [u8; 32],
) -> Applied {
    let mut applied = Applied {
        code: Code::TxInternalError,
        changes_before: LedgerEntryChanges::default(),
        operations: Vec::new(),
        diagnostics: Vec::new(),
        return_value: None,
        charge: None,
    };
    let checker = SignatureChecker::new(tx.inner_hash, &tx.signatures);
    let (level, failure) = validate::common_valid(txn.state(), tx, ctx, &checker, true);
    let signed = match failure {
        Some(code) => Err(code),
        None => check_signatures(txn, tx, &checker),
    };
    let mut before = txn.nested();
    if level >= Level::UpdateSeqNum {
        consume_sequence(&mut before, tx, ctx);
    }
    if level >= Level::PostAuth {
        options::remove_one_time_signers(&mut before, tx);
    }
    applied.changes_before = before.changes();
    txn.commit(before);
    if let Err(code) = signed {
        applied.code = code;
        return applied;
    }
    apply_operations(txn, tx, ctx, host, seed, &mut applied);
    applied
}

fn check_signatures(txn: &Txn, tx: &Tx, checker: &SignatureChecker) -> Result<(), Code> {
    let mut failed = false;
    let mut results = Vec::new();
    for op in tx.operations() {
        let source = tx.operation_source(op);
        match check_operation_signature(txn.state(), op, &source, checker) {
            Ok(()) => results.push(OperationResult::OpInner(blank_result(&op.body))),
            Err(result) => {
                failed = true;
                results.push(result);
            }
        }
    }
    if failed {
        return Err(Code::TxFailed(results.try_into().unwrap_or_default()));
    }
    if !checker.all_used() {
        return Err(Code::TxBadAuthExtra);
    }
    Ok(())
}

fn consume_sequence(txn: &mut Txn, tx: &Tx, ctx: &LedgerContext) {
    if let Some(source) = txn.state().account(&tx.source()) {
        let mut source = source.clone();
        source.seq_num = SequenceNumber(tx.sequence());
        account::set_seq_age(&mut source, ctx.seq, ctx.close_time);
        txn.put_account(source);
    }
}

fn apply_operations(
    txn: &mut Txn,
    tx: &Tx,
    ctx: &LedgerContext,
    host: &ContractHost,
    seed: [u8; 32],
    applied: &mut Applied,
) {
    let mut all = txn.nested();
    let mut sponsorships = BTreeMap::new();
    let mut results = Vec::new();
    let mut failed = false;
    for op in tx.operations() {
        let mut scope = Scope {
            txn: all.nested(),
            ctx,
            tx,
            source: tx.operation_source(op),
            sponsorships: &mut sponsorships,
            host,
            seed,
            trace: OperationTrace::default(),
        };
        let outcome = apply_operation(&mut scope, op);
        let (changed, trace) = (scope.txn, scope.trace);
        applied.diagnostics.extend(trace.diagnostics);
        applied.charge = trace.charge.or(applied.charge);
        match outcome {
            Ok(result) => {
                applied.operations.push((changed.changes(), trace.events));
                applied.return_value = trace.return_value.or(applied.return_value.take());
                all.commit(changed);
                results.push(OperationResult::OpInner(result));
            }
            Err(result) => {
                failed = true;
                results.push(result);
            }
        }
    }
    let results = results.try_into().unwrap_or_default();
    applied.code = if failed {
        Code::TxFailed(results)
    } else if !sponsorships.is_empty() {
        Code::TxBadSponsorship
    } else {
        txn.commit(all);
        Code::TxSuccess(results)
    };
    if !matches!(applied.code, Code::TxSuccess(_)) {
        applied.operations.clear();
        applied.return_value = None;
    }
}

fn apply_operation(scope: &mut Scope, op: &Operation) -> Outcome {
    if scope.txn.state().account(&scope.source).is_none() {
        return Err(OperationResult::OpNoAccount);
    }
    check_operation(&op.body, &scope.source, scope.tx, scope.ctx)?;
    use OperationBody as B;
    match &op.body {
        B::CreateAccount(op) => accounts::create_account(scope, op),
        B::Payment(op) => accounts::payment(scope, op),
        B::AccountMerge(destination) => accounts::account_merge(scope, destination),
        B::BumpSequence(op) => accounts::bump_sequence(scope, op),
        B::ChangeTrust(op) => trust::change_trust(scope, op),
        B::SetTrustLineFlags(op) => trust::set_trust_line_flags(scope, op),
        B::Clawback(op) => trust::clawback(scope, op),
        B::SetOptions(op) => options::set_options(scope, op),
        B::ManageData(op) => data::manage_data(scope, op),
        B::BeginSponsoringFutureReserves(op) => sponsorship::begin(scope, op),
        B::EndSponsoringFutureReserves => sponsorship::end(scope),
        B::InvokeHostFunction(op) => soroban::invoke(scope, op),
        B::ExtendFootprintTtl(op) => soroban::extend_ttl(scope, op),
        B::RestoreFootprint(_) => soroban::restore(scope),
        _ => Err(OperationResult::OpNotSupported),
    }
}

/// Checks an operation's form.
pub fn check_operation(
    body: &OperationBody,
    source: &AccountId,
    tx: &Tx,
    ctx: &LedgerContext,
) -> Result<(), OperationResult> {
    use OperationBody as B;
    match body {
        B::CreateAccount(op) => accounts::check_create_account(op, source),
        B::Payment(op) => accounts::check_payment(op),
        B::AccountMerge(destination) => accounts::check_merge(destination, source),
        B::BumpSequence(op) => accounts::check_bump_sequence(op),
        B::ChangeTrust(op) => trust::check_change_trust(op, source),
        B::SetTrustLineFlags(op) => trust::check_flags(op, source),
        B::Clawback(op) => trust::check_clawback(op, source),
        B::SetOptions(op) => options::check_set_options(op, source),
        B::ManageData(op) => data::check_manage_data(op),
        B::BeginSponsoringFutureReserves(op) => sponsorship::check_begin(op, source),
        B::EndSponsoringFutureReserves => Ok(()),
        B::InvokeHostFunction(op) => soroban::check_invoke(op, ctx),
        B::ExtendFootprintTtl(op) => soroban::check_extend(op, tx, ctx),
        B::RestoreFootprint(_) => soroban::check_restore(tx),
        _ => Err(OperationResult::OpNotSupported),
    }
}

/// The weight that an operation asks of its source.
pub fn threshold_level(body: &OperationBody) -> ThresholdLevel {
    use OperationBody as B;
    match body {
        B::BumpSequence(_) | B::AllowTrust(_) | B::SetTrustLineFlags(_) | B::Inflation => {
            ThresholdLevel::Low
        }
        B::AccountMerge(_) => ThresholdLevel::High,
        B::SetOptions(op) => options::threshold_level(op),
        _ => ThresholdLevel::Medium,
    }
}

/// The result that stands for an operation that was not run: core leaves its
/// fresh success value in place.
pub fn blank_result(body: &OperationBody) -> OperationResultTr {
    use stellar_xdr::{
        AccountMergeResult, BeginSponsoringFutureReservesResult, BumpSequenceResult,
        ChangeTrustResult, ClawbackResult, CreateAccountResult, EndSponsoringFutureReservesResult,
        ExtendFootprintTtlResult, InvokeHostFunctionResult, ManageDataResult, PaymentResult,
        RestoreFootprintResult, SetOptionsResult, SetTrustLineFlagsResult,
    };
    use OperationBody as B;
    use OperationResultTr as R;
    match body {
        B::CreateAccount(_) => R::CreateAccount(CreateAccountResult::Success),
        B::AccountMerge(_) => R::AccountMerge(AccountMergeResult::Success(0)),
        B::BumpSequence(_) => R::BumpSequence(BumpSequenceResult::Success),
        B::ChangeTrust(_) => R::ChangeTrust(ChangeTrustResult::Success),
        B::SetTrustLineFlags(_) => R::SetTrustLineFlags(SetTrustLineFlagsResult::Success),
        B::Clawback(_) => R::Clawback(ClawbackResult::Success),
        B::SetOptions(_) => R::SetOptions(SetOptionsResult::Success),
        B::ManageData(_) => R::ManageData(ManageDataResult::Success),
        B::BeginSponsoringFutureReserves(_) => {
            R::BeginSponsoringFutureReserves(BeginSponsoringFutureReservesResult::Success)
        }
        B::EndSponsoringFutureReserves => {
            R::EndSponsoringFutureReserves(EndSponsoringFutureReservesResult::Success)
        }
        B::InvokeHostFunction(_) => {
            R::InvokeHostFunction(InvokeHostFunctionResult::Success(Hash([0; 32])))
        }
        B::ExtendFootprintTtl(_) => R::ExtendFootprintTtl(ExtendFootprintTtlResult::Success),
        B::RestoreFootprint(_) => R::RestoreFootprint(RestoreFootprintResult::Success),
        _ => R::Payment(PaymentResult::Success),
    }
}
