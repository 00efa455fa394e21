//! Closing a ledger: charge fees, apply, refund, chain the header.

use std::sync::Arc;

use stellar_xdr::{
    ExtensionPoint, Hash, LedgerEntryChanges, LedgerHeader, LedgerHeaderExt, OperationMetaV2,
    SorobanTransactionMetaExt, SorobanTransactionMetaExtV1, SorobanTransactionMetaV2, StellarValue,
    StellarValueExt, TimePoint, TransactionEvent, TransactionEventStage, TransactionMeta,
    TransactionMetaV4, TransactionResultPair, TransactionResultSet,
};

use crate::apply::{apply_transaction, Applied, ResourceCharge};
use crate::chain::{tx_set, ClosedLedger, LandedTx};
use crate::config::{
    genesis_settings, Network, BASE_FEE, BASE_RESERVE, MAX_TX_SET_OPERATIONS, PROTOCOL_VERSION,
    TOTAL_COINS,
};
use crate::events;
use crate::host::ContractHost;
use crate::state::{changes_digest, State, Txn};
use crate::tx::Tx;
use crate::validate::{resource_fees, result_of, LedgerContext};
use crate::xdr;

/// The first ledger: all lumens on the root account, all settings in place.
pub fn genesis(network_id: [u8; 32], close_ms: u32, close_time: u64) -> (ClosedLedger, State) {
    let mut txn = Txn::new(State::default(), 1);
    let root = ed25519_dalek::SigningKey::from_bytes(&network_id);
    let root = xdr::account_id(root.verifying_key().to_bytes());
    let mut account = crate::account::new_account(root, TOTAL_COINS, 1);
    account.seq_num = stellar_xdr::SequenceNumber(0);
    txn.put_account(account);
    for setting in genesis_settings(close_ms) {
        txn.put(stellar_xdr::LedgerEntryData::ConfigSetting(setting), None);
    }
    let zero = Hash([0; 32]);
    let mut header = LedgerHeader {
        ledger_version: PROTOCOL_VERSION,
        previous_ledger_hash: zero.clone(),
        scp_value: value(zero.clone(), close_time),
        tx_set_result_hash: zero.clone(),
        bucket_list_hash: changes_digest(&zero, &txn.changes()),
        ledger_seq: 1,
        total_coins: TOTAL_COINS,
        fee_pool: 0,
        inflation_seq: 0,
        id_pool: 0,
        base_fee: BASE_FEE,
        base_reserve: BASE_RESERVE,
        max_tx_set_size: MAX_TX_SET_OPERATIONS,
        skip_list: [zero.clone(), zero.clone(), zero.clone(), zero.clone()],
        ext: LedgerHeaderExt::V0,
    };
    header.scp_value.tx_set_hash = xdr::hash_of(&tx_set(&zero, std::iter::empty()));
    let hash = xdr::hash_of(&header);
    let ledger = ClosedLedger {
        header,
        hash,
        txs: Vec::new(),
    };
    (ledger, txn.into_state())
}

fn value(tx_set_hash: Hash, close_time: u64) -> StellarValue {
    StellarValue {
        tx_set_hash,
        close_time: TimePoint(close_time),
        upgrades: Default::default(),
        ext: StellarValueExt::Basic,
    }
}

/// Applies transactions in the order given and closes the ledger.
pub fn close(
    previous: &ClosedLedger,
    state: State,
    txs: Vec<Tx>,
    ctx: &LedgerContext,
    host: &ContractHost,
) -> (ClosedLedger, Txn) {
    let set = tx_set(&previous.hash, txs.iter().map(|t| &t.envelope));
    let set_hash = xdr::hash_of(&set);
    let mut ledger = Txn::new(state, ctx.seq);
    let charged: Vec<_> = txs.iter().map(|t| charge_fee(&mut ledger, t)).collect();
    let mut fee_pool = previous.header.fee_pool;
    let mut landed = Vec::with_capacity(txs.len());
    for (index, (tx, (charged, fee_changes))) in txs.into_iter().zip(charged).enumerate() {
        let seed = seed(&set_hash, index);
        let mut scope = ledger.nested();
        let applied = apply_transaction(&mut scope, &tx, ctx, host, seed);
        ledger.commit(scope);
        landed.push((tx, applied, charged, fee_changes));
    }
    let mut out = Vec::with_capacity(landed.len());
    for (tx, applied, charged, fee_changes) in landed {
        let mut scope = ledger.nested();
        let refund = refund(&mut scope, &tx, ctx, &applied, charged);
        let refund_changes = scope.changes();
        ledger.commit(scope);
        fee_pool += charged - refund;
        out.push(land(
            tx,
            applied,
            ctx,
            Fees {
                charged,
                refund,
                fee_changes,
                refund_changes,
            },
        ));
    }
    sample_state_size(&mut ledger, ctx.seq);
    let header = next_header(previous, ctx, set_hash, &out, &ledger, fee_pool);
    let hash = xdr::hash_of(&header);
    let closed = ClosedLedger {
        header,
        hash,
        txs: out,
    };
    (closed, ledger)
}

fn seed(set_hash: &Hash, index: usize) -> [u8; 32] {
    let mut data = set_hash.0.to_vec();
    data.extend((index as u64).to_be_bytes());
    xdr::sha256(data)
}

/// Charges the declared fee, or what there is.
fn charge_fee(ledger: &mut Txn, tx: &Tx) -> (i64, LedgerEntryChanges) {
    let mut scope = ledger.nested();
    let mut charged = 0;
    if let Some(mut payer) = scope.state().account(&tx.fee_source()).cloned() {
        charged = tx.fee_to_charge().min(payer.balance);
        payer.balance -= charged;
        scope.put_account(payer);
    }
    let changes = scope.changes();
    ledger.commit(scope);
    (charged, changes)
}

/// Gives back what was declared refundable and not consumed, on failure too.
fn refund(scope: &mut Txn, tx: &Tx, ctx: &LedgerContext, applied: &Applied, charged: i64) -> i64 {
    if !tx.is_soroban() {
        return 0;
    }
    // What never ran consumed nothing refundable.
    let charge = applied.charge.unwrap_or_else(|| {
        let fees = resource_fees(tx, ctx, 0).unwrap_or_default();
        ResourceCharge {
            non_refundable: fees.0,
            refundable: 0,
            rent: 0,
        }
    });
    let consumed = charge.non_refundable + charge.refundable + charge.rent;
    let refund = (tx.resource_fee() - consumed).clamp(0, charged);
    if refund > 0 {
        let Some(mut payer) = scope.state().account(&tx.fee_source()).cloned() else {
            return 0;
        };
        payer.balance += refund;
        scope.put_account(payer);
    }
    refund
}

struct Fees {
    charged: i64,
    refund: i64,
    fee_changes: LedgerEntryChanges,
    refund_changes: LedgerEntryChanges,
}

fn land(tx: Tx, applied: Applied, ctx: &LedgerContext, fees: Fees) -> LandedTx {
    let payer = tx.fee_source();
    let mut tx_events: Vec<TransactionEvent> = vec![events::fee(
        &ctx.network_id,
        &payer,
        fees.charged,
        TransactionEventStage::BeforeAllTxs,
    )];
    if fees.refund > 0 {
        tx_events.push(events::fee(
            &ctx.network_id,
            &payer,
            -fees.refund,
            TransactionEventStage::AfterAllTxs,
        ));
    }
    let operations: Vec<OperationMetaV2> = applied
        .operations
        .into_iter()
        .map(|(changes, events)| OperationMetaV2 {
            ext: ExtensionPoint::V0,
            changes,
            events: events.try_into().expect("events are bounded"),
        })
        .collect();
    let soroban_meta = applied.charge.map(|charge| SorobanTransactionMetaV2 {
        ext: SorobanTransactionMetaExt::V1(SorobanTransactionMetaExtV1 {
            ext: ExtensionPoint::V0,
            total_non_refundable_resource_fee_charged: charge.non_refundable,
            total_refundable_resource_fee_charged: charge.refundable + charge.rent,
            rent_fee_charged: charge.rent,
        }),
        return_value: applied.return_value,
    });
    let meta = TransactionMeta::V4(TransactionMetaV4 {
        ext: ExtensionPoint::V0,
        tx_changes_before: applied.changes_before,
        operations: operations.try_into().expect("at most 100 operations"),
        tx_changes_after: LedgerEntryChanges::default(),
        soroban_meta,
        events: tx_events.try_into().expect("two events"),
        diagnostic_events: applied.diagnostics.try_into().unwrap_or_default(),
    });
    let result = result_of(&tx, applied.code, fees.charged - fees.refund);
    LandedTx {
        hash: tx.hash(),
        inner_hash: tx.inner_hash,
        envelope: tx.envelope,
        result,
        meta,
        fee_changes: fees.fee_changes,
        refund_changes: fees.refund_changes,
    }
}

/// Every 64 ledgers the size of contract state enters the window that rent is
/// priced by.
fn sample_state_size(ledger: &mut Txn, seq: u32) {
    use stellar_xdr::{ConfigSettingEntry, ConfigSettingId, LedgerEntryData};
    if !seq.is_multiple_of(64) {
        return;
    }
    let id = ConfigSettingId::LiveSorobanStateSizeWindow;
    if let Some(ConfigSettingEntry::LiveSorobanStateSizeWindow(window)) = ledger.state().setting(id)
    {
        let mut window = window.to_vec();
        window.remove(0);
        window.push(ledger.state().soroban_bytes());
        let entry = ConfigSettingEntry::LiveSorobanStateSizeWindow(
            window.try_into().expect("as long as before"),
        );
        ledger.put(LedgerEntryData::ConfigSetting(entry), None);
    }
}

fn next_header(
    previous: &ClosedLedger,
    ctx: &LedgerContext,
    set_hash: Hash,
    txs: &[LandedTx],
    ledger: &Txn,
    fee_pool: i64,
) -> LedgerHeader {
    let results: Vec<_> = txs
        .iter()
        .map(|t| TransactionResultPair {
            transaction_hash: Hash(t.hash),
            result: t.result.clone(),
        })
        .collect();
    let results = TransactionResultSet {
        results: results.try_into().expect("the ledger's size is bounded"),
    };
    let before = &previous.header;
    LedgerHeader {
        previous_ledger_hash: previous.hash.clone(),
        scp_value: value(set_hash, ctx.close_time),
        tx_set_result_hash: xdr::hash_of(&results),
        bucket_list_hash: changes_digest(&before.bucket_list_hash, &ledger.changes()),
        ledger_seq: ctx.seq,
        fee_pool,
        skip_list: skip_list(before, ctx.seq),
        ..before.clone()
    }
}

/// Older hashes at growing distances, as core keeps them.
fn skip_list(before: &LedgerHeader, seq: u32) -> [Hash; 4] {
    let mut list = before.skip_list.clone();
    for (at, distance) in [50, 5_000, 50_000, 500_000].into_iter().enumerate() {
        if seq.is_multiple_of(distance) {
            list[at] = before.bucket_list_hash.clone();
        }
    }
    list
}

/// The next ledger's context. `step_seconds` is what close times rise by at
/// least; the clock is behind where ledgers close faster than that.
pub fn next_context(
    previous: &ClosedLedger,
    network: &Arc<Network>,
    network_id: [u8; 32],
    now: u64,
    step_seconds: u64,
) -> LedgerContext {
    LedgerContext {
        seq: previous.seq() + 1,
        close_time: now.max(previous.close_time() + step_seconds),
        network_id,
        network: network.clone(),
    }
}
