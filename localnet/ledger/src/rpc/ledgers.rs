//! Ledgers and entries.

use serde::Deserialize;
use serde_json::{json, Value};
use stellar_xdr::{ContractDataDurability, LedgerKey};

use super::{check_format, check_start, Answer, Pagination, Rpc, RpcError};
use crate::chain::{ClosedLedger, View};
use crate::config::PROTOCOL_VERSION;
use crate::state::durability;
use crate::xdr;

const KEYS_MAX: usize = 200;
const LEDGERS_MAX: u32 = 200;
const LEDGERS_DEFAULT: u32 = 50;

pub(super) fn get_latest_ledger(view: &View) -> Answer {
    let ledger = &view.latest;
    Ok(json!({
        "id": hex::encode(ledger.hash.0),
        "protocolVersion": PROTOCOL_VERSION,
        "sequence": ledger.seq(),
        "closeTime": ledger.close_time().to_string(),
        "headerXdr": xdr::b64(&ledger.header),
        "metadataXdr": xdr::b64(&ledger.close_meta()),
    }))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetLedgers {
    start_ledger: Option<u32>,
    #[serde(default)]
    pagination: Pagination,
    xdr_format: Option<String>,
}

pub(super) fn get_ledgers(rpc: &Rpc, view: &View, params: GetLedgers) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    let limit = params.pagination.limit(LEDGERS_DEFAULT, LEDGERS_MAX)?;
    let start = match (params.pagination.cursor(), params.start_ledger) {
        (Some(_), Some(_)) => {
            return Err(RpcError::params(
                "startLedger and cursor cannot both be set",
            ))
        }
        (Some(cursor), None) => {
            let cursor: u32 = cursor
                .parse()
                .map_err(|_| RpcError::params(format!("invalid cursor {cursor:?}")))?;
            cursor.saturating_add(1)
        }
        (None, Some(start)) => {
            check_start(start, view)?;
            start
        }
        (None, None) => return Err(RpcError::params("startLedger must be set")),
    };
    let end = view.latest.seq();
    let ledgers: Vec<_> = rpc.node.read(|chain| {
        (start.max(view.oldest.seq())..=end)
            .take(limit)
            .filter_map(|seq| chain.ledger(seq).cloned())
            .collect()
    });
    let cursor = ledgers.last().map_or(start.saturating_sub(1), |l| l.seq());
    Ok(json!({
        "ledgers": ledgers.iter().map(|l| ledger_info(l)).collect::<Vec<_>>(),
        "latestLedger": end,
        "latestLedgerCloseTime": view.latest.close_time(),
        "oldestLedger": view.oldest.seq(),
        "oldestLedgerCloseTime": view.oldest.close_time(),
        "cursor": cursor.to_string(),
    }))
}

fn ledger_info(ledger: &ClosedLedger) -> Value {
    json!({
        "hash": hex::encode(ledger.hash.0),
        "sequence": ledger.seq(),
        "ledgerCloseTime": ledger.close_time().to_string(),
        "headerXdr": xdr::b64(&ledger.header_entry()),
        "metadataXdr": xdr::b64(&ledger.close_meta()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetLedgerEntries {
    keys: Vec<String>,
    xdr_format: Option<String>,
}

pub(super) fn get_ledger_entries(view: &View, params: &GetLedgerEntries) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    if params.keys.len() > KEYS_MAX {
        return Err(RpcError::params(format!(
            "key count ({}) exceeds maximum supported ({KEYS_MAX})",
            params.keys.len()
        )));
    }
    let mut entries = Vec::new();
    for (index, text) in params.keys.iter().enumerate() {
        let key: LedgerKey = xdr::from_b64(text).map_err(|e| {
            RpcError::params(format!(
                "cannot unmarshal key value {text} at index {index}: {e}"
            ))
        })?;
        if matches!(key, LedgerKey::Ttl(_)) {
            return Err(RpcError::params(format!(
                "ledger ttl entries cannot be queried directly (key {index})"
            )));
        }
        let Some(stored) = view.state.get(&key) else {
            continue;
        };
        let temporary = durability(&key) == Some(ContractDataDurability::Temporary);
        // Expired temporary entries are gone; archived persistent ones are not.
        if temporary && stored.live_until < Some(view.latest.seq()) {
            continue;
        }
        let mut entry = json!({
            "key": text,
            "xdr": xdr::b64(&stored.entry.data),
            "lastModifiedLedgerSeq": stored.entry.last_modified_ledger_seq,
            "extXdr": xdr::b64(&stored.entry.ext),
        });
        if let Some(live_until) = stored.live_until {
            entry["liveUntilLedgerSeq"] = json!(live_until);
        }
        entries.push(entry);
    }
    Ok(json!({"entries": entries, "latestLedger": view.latest.seq()}))
}
