//! The page of one transaction.

use stellar_xdr::{
    AccountId, ContractEvent, ContractEventBody, DecoratedSignature, FeeBumpTransactionInnerTx,
    Memo, MuxedAccount, Operation, OperationResult, OperationResultTr, TransactionEnvelope,
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

/// A name as the protocol writes it: `BadAuth` is `BAD_AUTH`.
fn upper(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.chars().enumerate() {
        if i > 0 && c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

/// A transaction's code as the protocol writes it: `txBAD_AUTH`.
fn code_name(name: &str) -> String {
    format!("tx{}", upper(name.trim_start_matches("Tx")))
}

fn result_name(result: &TransactionResultResult) -> String {
    use TransactionResultResult as R;
    match result {
        R::TxFeeBumpInnerSuccess(pair) | R::TxFeeBumpInnerFailed(pair) => format!(
            "{} ({})",
            code_name(result.name()),
            code_name(pair.result.result.name())
        ),
        other => code_name(other.name()),
    }
}

fn operation_result(result: &OperationResult) -> String {
    let OperationResult::OpInner(inner) = result else {
        return upper(result.name());
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
    upper(name)
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

/// Accounts whose keys may have signed: sources, and whoever pays the fee.
fn candidates(parts: &Inner, envelope: &TransactionEnvelope) -> Vec<AccountId> {
    let mut ids = vec![xdr::demux(&parts.source)];
    let sources = parts
        .operations
        .iter()
        .filter_map(|op| op.source_account.as_ref());
    ids.extend(sources.map(xdr::demux));
    if let TransactionEnvelope::TxFeeBump(bump) = envelope {
        ids.push(xdr::demux(&bump.tx.fee_source));
    }
    ids
}

/// Who signed: the account whose key the hint names, or the bare hint.
fn signer_text(signatures: &[DecoratedSignature], candidates: &[AccountId]) -> String {
    let signers: Vec<String> = signatures
        .iter()
        .map(|s| {
            candidates
                .iter()
                .find(|id| xdr::key_bytes(id).ends_with(&s.hint.0))
                .map_or_else(
                    || code(&format!("key …{}", hex::encode(s.hint.0))),
                    account_link,
                )
        })
        .collect();
    signers.join(", ")
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
    let known = candidates(&parts, &tx.envelope);
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
        ("signed by", signer_text(&parts.signatures, &known)),
    ];
    if let Some(memo) = memo_text(&parts.memo) {
        rows.push(("memo", code(&memo)));
    }
    if let TransactionEnvelope::TxFeeBump(bump) = &tx.envelope {
        rows.push((
            "fee paid by",
            account_link(&xdr::demux(&bump.tx.fee_source)),
        ));
        rows.push(("fee signed by", signer_text(&bump.signatures, &known)));
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
                    badge(r == "SUCCESS", &r)
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

#[cfg(test)]
mod tests {
    use super::{code_name, upper};

    #[test]
    fn codes_are_named_as_the_protocol_names_them() {
        assert_eq!(code_name("TxBadAuthExtra"), "txBAD_AUTH_EXTRA");
        assert_eq!(upper("ResourceLimitExceeded"), "RESOURCE_LIMIT_EXCEEDED");
    }
}
