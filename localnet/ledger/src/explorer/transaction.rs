//! The page of one transaction.

use stellar_xdr::{
    ContractEvent, ContractEventBody, DecoratedSignature, FeeBumpTransactionInnerTx, Memo,
    MuxedAccount, Operation, OperationResult, OperationResultTr, TransactionEnvelope,
    TransactionMeta, TransactionMetaV4, TransactionResultResult,
};

use super::operation::{describe, scval};
use super::page::{
    account_link, amount, badge, code, contract_link, escape, facts, ledger_link, page, table,
};
use super::{nothing, time};
use crate::rpc::Rpc;
use crate::xdr;

/// The inner transaction of an envelope, as far as a page shows it.
pub(super) struct Inner {
    pub(super) source: MuxedAccount,
    pub(super) sequence: i64,
    pub(super) memo: Memo,
    pub(super) operations: Vec<Operation>,
    pub(super) signatures: Vec<DecoratedSignature>,
}

pub(super) fn inner(envelope: &TransactionEnvelope) -> Inner {
    match envelope {
        TransactionEnvelope::TxV0(e) => Inner {
            source: MuxedAccount::Ed25519(e.tx.source_account_ed25519.clone()),
            sequence: e.tx.seq_num.0,
            memo: e.tx.memo.clone(),
            operations: e.tx.operations.to_vec(),
            signatures: e.signatures.to_vec(),
        },
        TransactionEnvelope::Tx(e) => of_v1(&e.tx, &e.signatures),
        TransactionEnvelope::TxFeeBump(e) => {
            let FeeBumpTransactionInnerTx::Tx(inner) = &e.tx.inner_tx;
            of_v1(&inner.tx, &inner.signatures)
        }
    }
}

fn of_v1(tx: &stellar_xdr::Transaction, signatures: &[DecoratedSignature]) -> Inner {
    Inner {
        source: tx.source_account.clone(),
        sequence: tx.seq_num.0,
        memo: tx.memo.clone(),
        operations: tx.operations.to_vec(),
        signatures: signatures.to_vec(),
    }
}

fn memo_text(memo: &Memo) -> Option<String> {
    match memo {
        Memo::None => None,
        Memo::Text(text) => Some(String::from_utf8_lossy(text.as_slice()).into_owned()),
        Memo::Id(id) => Some(id.to_string()),
        Memo::Hash(h) | Memo::Return(h) => Some(hex::encode(h.0)),
    }
}

fn operation_results(result: &TransactionResultResult) -> Vec<OperationResult> {
    use stellar_xdr::InnerTransactionResultResult as I;
    use TransactionResultResult as R;
    match result {
        R::TxSuccess(ops) | R::TxFailed(ops) => ops.to_vec(),
        R::TxFeeBumpInnerSuccess(pair) | R::TxFeeBumpInnerFailed(pair) => {
            match &pair.result.result {
                I::TxSuccess(ops) | I::TxFailed(ops) => ops.to_vec(),
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn result_name(result: &TransactionResultResult) -> String {
    use TransactionResultResult as R;
    match result {
        R::TxFeeBumpInnerSuccess(pair) | R::TxFeeBumpInnerFailed(pair) => {
            format!("{} ({})", result.name(), pair.result.result.name())
        }
        other => other.name().to_owned(),
    }
}

fn operation_result(result: &OperationResult) -> String {
    let OperationResult::OpInner(inner) = result else {
        return result.name().to_owned();
    };
    use OperationResultTr as R;
    let name = match inner {
        R::CreateAccount(r) => r.name(),
        R::Payment(r) => r.name(),
        R::SetOptions(r) => r.name(),
        R::ChangeTrust(r) => r.name(),
        R::AccountMerge(r) => r.name(),
        R::ManageData(r) => r.name(),
        R::BumpSequence(r) => r.name(),
        R::BeginSponsoringFutureReserves(r) => r.name(),
        R::EndSponsoringFutureReserves(r) => r.name(),
        R::SetTrustLineFlags(r) => r.name(),
        R::Clawback(r) => r.name(),
        R::InvokeHostFunction(r) => r.name(),
        R::ExtendFootprintTtl(r) => r.name(),
        R::RestoreFootprint(r) => r.name(),
        other => other.name(),
    };
    name.to_owned()
}

fn event_row(event: &ContractEvent) -> Vec<String> {
    let ContractEventBody::V0(body) = &event.body;
    let topics: Vec<String> = body.topics.iter().map(scval).collect();
    let contract = event
        .contract_id
        .as_ref()
        .map(|c| contract_link(&c.to_string()))
        .unwrap_or_default();
    vec![contract, topics.join("<br>"), scval(&body.data)]
}

fn signer_text(signatures: &[DecoratedSignature]) -> String {
    let hints: Vec<String> = signatures
        .iter()
        .map(|s| format!("…{}", hex::encode(s.hint.0)))
        .collect();
    code(&hints.join(", "))
}

fn diagnostics(meta: &TransactionMetaV4) -> String {
    let rows: Vec<Vec<String>> = meta
        .diagnostic_events
        .iter()
        .map(|d| event_row(&d.event))
        .collect();
    table(&["contract", "topics", "data"], &rows)
}

/// One transaction, by its outer or its inner hash.
pub fn transaction(rpc: &Rpc, hash: &str) -> Result<String, String> {
    let found = hex::decode(hash)
        .ok()
        .and_then(|raw| <[u8; 32]>::try_from(raw).ok())
        .and_then(|raw| rpc.node.read(|chain| chain.find(&raw)));
    let Some(found) = found else {
        return Err(nothing(rpc, hash));
    };
    let tx = found.tx();
    let parts = inner(&tx.envelope);
    let mut rows = vec![
        (
            "result",
            badge(tx.succeeded(), &result_name(&tx.result.result)),
        ),
        ("ledger", ledger_link(found.ledger.seq())),
        ("closed", escape(&time::iso(found.ledger.close_time()))),
        ("source", account_link(&xdr::demux(&parts.source))),
        ("sequence", parts.sequence.to_string()),
        (
            "fee charged",
            format!("{} XLM", amount(tx.result.fee_charged)),
        ),
        ("signatures", signer_text(&parts.signatures)),
    ];
    if let Some(memo) = memo_text(&parts.memo) {
        rows.push(("memo", code(&memo)));
    }
    if let TransactionEnvelope::TxFeeBump(bump) = &tx.envelope {
        rows.push((
            "fee paid by",
            account_link(&xdr::demux(&bump.tx.fee_source)),
        ));
        rows.push(("fee bid", format!("{} XLM", amount(bump.tx.fee))));
        rows.push(("outer hash", code(&hex::encode(tx.hash))));
        rows.push(("inner hash", code(&hex::encode(tx.inner_hash))));
    }
    let results = operation_results(&tx.result.result);
    let operations: String = parts
        .operations
        .iter()
        .enumerate()
        .map(|(i, op)| {
            let result = results.get(i).map(operation_result);
            let shown = result.map_or(String::new(), |r| {
                format!(
                    "<div class=op style=\"border:0;padding-top:0\">{}</div>",
                    badge(r == "Success", &r)
                )
            });
            format!("{}{shown}", describe(op))
        })
        .collect();
    let mut body = format!(
        "<h1>Transaction</h1><p>{}</p>{}<h2>Operations</h2><div class=card>{operations}</div>",
        code(&hex::encode(tx.hash)),
        facts(&rows)
    );
    if let TransactionMeta::V4(meta) = &tx.meta {
        body.push_str(&meta_part(meta, tx.succeeded()));
    }
    Ok(page(rpc, "Transaction", &body))
}

fn meta_part(meta: &TransactionMetaV4, succeeded: bool) -> String {
    let mut out = String::new();
    let value = meta
        .soroban_meta
        .as_ref()
        .and_then(|m| m.return_value.as_ref());
    if let Some(value) = value {
        out.push_str(&format!(
            "<h2>Returned</h2><div class=card><div class=op>{}</div></div>",
            scval(value)
        ));
    }
    let rows: Vec<Vec<String>> = meta
        .operations
        .iter()
        .flat_map(|op| op.events.iter())
        .map(event_row)
        .collect();
    out.push_str(&format!(
        "<h2>Events</h2>{}",
        table(&["contract", "topics", "data"], &rows)
    ));
    let fees: Vec<Vec<String>> = meta.events.iter().map(|e| event_row(&e.event)).collect();
    out.push_str(&format!(
        "<h2>Fees</h2>{}",
        table(&["contract", "topics", "stroops"], &fees)
    ));
    if !succeeded && !meta.diagnostic_events.is_empty() {
        out.push_str(&format!("<h2>Diagnostics</h2>{}", diagnostics(meta)));
    }
    out
}

/// Whether a transaction's events name a contract.
pub(super) fn touches(meta: &TransactionMeta, contract: &stellar_xdr::ContractId) -> bool {
    match meta {
        TransactionMeta::V4(meta) => meta
            .operations
            .iter()
            .flat_map(|op| op.events.iter())
            .any(|e| e.contract_id.as_ref() == Some(contract)),
        _ => false,
    }
}

/// Events that a contract emitted in a transaction.
pub(super) fn events_by(
    meta: &TransactionMeta,
    contract: &stellar_xdr::ContractId,
) -> Vec<Vec<String>> {
    match meta {
        TransactionMeta::V4(meta) => meta
            .operations
            .iter()
            .flat_map(|op| op.events.iter())
            .filter(|e| e.contract_id.as_ref() == Some(contract))
            .map(|e| event_row(e)[1..].to_vec())
            .collect(),
        _ => Vec::new(),
    }
}
