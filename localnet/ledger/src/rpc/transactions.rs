//! Transactions that have landed.

use serde::Deserialize;
use serde_json::{json, Value};
use stellar_xdr::TransactionMeta;

use super::{check_format, check_start, Answer, Pagination, Rpc, RpcError};
use crate::chain::{Found, LandedTx, View};
use crate::faults::Kind;
use crate::xdr;

const TRANSACTIONS_MAX: u32 = 200;
const TRANSACTIONS_DEFAULT: u32 = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetTransaction {
    hash: String,
    xdr_format: Option<String>,
}

pub(super) fn get_transaction(rpc: &Rpc, view: &View, params: &GetTransaction) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    let hash: [u8; 32] = hex::decode(&params.hash)
        .ok()
        .and_then(|raw| raw.try_into().ok())
        .ok_or_else(|| {
            RpcError::params(format!(
                "unexpected hash length or characters: {:?} is not 32 bytes of hex",
                params.hash
            ))
        })?;
    let faults = &rpc.node.faults;
    // stellar-rpc looks the transaction up first and reads the range after.
    let looked_up_at = match faults.take(Kind::IngestionLagBetween, "getTransaction") {
        Some(hit) => view.latest.seq().saturating_sub(hit.ledgers()),
        None => view.latest.seq(),
    };
    let found = rpc
        .node
        .read(|chain| chain.find(&hash))
        .filter(|f| f.ledger.seq() <= looked_up_at)
        .filter(|_| faults.take(Kind::NotFound, "getTransaction").is_none());
    let mut out = json!({
        "status": "NOT_FOUND",
        "txHash": params.hash.to_lowercase(),
        "latestLedger": view.latest.seq(),
        "latestLedgerCloseTime": view.latest.close_time().to_string(),
        "oldestLedger": view.oldest.seq(),
        "oldestLedgerCloseTime": view.oldest.close_time().to_string(),
    });
    if let Some(found) = found {
        let mut info = describe(&found);
        info["createdAt"] = json!(found.ledger.close_time().to_string());
        // The answer names the hash that was asked for; `getTransactions` the
        // outer one.
        info["txHash"] = out["txHash"].clone();
        if let (Value::Object(out), Value::Object(info)) = (&mut out, info) {
            out.extend(info);
        }
    } else {
        out["ledger"] = json!(0);
        out["createdAt"] = json!("0");
    }
    Ok(out)
}

fn describe(found: &Found) -> Value {
    let tx = found.tx();
    json!({
        "status": if tx.succeeded() { "SUCCESS" } else { "FAILED" },
        "txHash": hex::encode(tx.hash),
        "applicationOrder": found.index + 1,
        "feeBump": tx.is_fee_bump(),
        "envelopeXdr": xdr::b64(&tx.envelope),
        "resultXdr": xdr::b64(&tx.result),
        "resultMetaXdr": xdr::b64(&tx.meta),
        "diagnosticEventsXdr": diagnostics(tx),
        "events": events(tx),
        "ledger": found.ledger.seq(),
        "createdAt": found.ledger.close_time(),
    })
}

fn diagnostics(tx: &LandedTx) -> Vec<String> {
    match &tx.meta {
        TransactionMeta::V4(meta) => meta.diagnostic_events.iter().map(xdr::b64).collect(),
        _ => Vec::new(),
    }
}

fn events(tx: &LandedTx) -> Value {
    let TransactionMeta::V4(meta) = &tx.meta else {
        return json!({});
    };
    let of_transaction: Vec<String> = meta.events.iter().map(xdr::b64).collect();
    let of_contracts: Vec<Vec<String>> = meta
        .operations
        .iter()
        .map(|op| op.events.iter().map(xdr::b64).collect())
        .collect();
    json!({
        "diagnosticEventsXdr": diagnostics(tx),
        "transactionEventsXdr": of_transaction,
        "contractEventsXdr": of_contracts,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetTransactions {
    start_ledger: Option<u32>,
    #[serde(default)]
    pagination: Pagination,
    xdr_format: Option<String>,
}

/// A total order id: ledger, place in it (from 1), operation (from 1).
fn toid(ledger: u32, order: usize, operation: u64) -> u64 {
    u64::from(ledger) << 32 | (order as u64) << 12 | operation
}

pub(super) fn get_transactions(rpc: &Rpc, view: &View, params: GetTransactions) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    let limit = params
        .pagination
        .limit(TRANSACTIONS_DEFAULT, TRANSACTIONS_MAX)?;
    let (start, after) = match (params.pagination.cursor(), params.start_ledger) {
        (Some(_), Some(_)) => {
            return Err(RpcError::params(
                "startLedger and cursor cannot both be set",
            ))
        }
        (Some(cursor), None) => {
            let cursor: u64 = cursor
                .parse()
                .map_err(|_| RpcError::params(format!("invalid cursor {cursor:?}")))?;
            ((cursor >> 32) as u32, cursor)
        }
        (None, Some(start)) => {
            check_start(start, view)?;
            (start, 0)
        }
        (None, None) => return Err(RpcError::params("startLedger must be set")),
    };
    let end = view.latest.seq();
    let mut found = Vec::new();
    rpc.node.read(|chain| {
        'ledgers: for seq in start.max(view.oldest.seq())..=end {
            let Some(ledger) = chain.ledger(seq) else {
                continue;
            };
            for index in 0..ledger.txs.len() {
                if toid(seq, index + 1, 1) <= after {
                    continue;
                }
                if found.len() >= limit {
                    break 'ledgers;
                }
                found.push(Found {
                    ledger: ledger.clone(),
                    index,
                });
            }
        }
    });
    // With nothing more to give, the cursor stands at the end of the range, so
    // that a follower goes on with the next ledger.
    let cursor = match found.last() {
        Some(last) if found.len() >= limit => toid(last.ledger.seq(), last.index + 1, 1),
        _ => (toid(end.saturating_add(1), 0, 0) - 1).max(after),
    };
    Ok(json!({
        "transactions": found.iter().map(describe).collect::<Vec<_>>(),
        "latestLedger": end,
        "latestLedgerCloseTimestamp": view.latest.close_time(),
        "oldestLedger": view.oldest.seq(),
        "oldestLedgerCloseTimestamp": view.oldest.close_time(),
        "cursor": cursor.to_string(),
    }))
}
