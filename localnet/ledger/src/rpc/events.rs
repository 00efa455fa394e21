//! Contract events by range, contract and topics.

use serde::Deserialize;
use serde_json::{json, Value};
use stellar_xdr::{
    ContractEvent, ContractEventBody, ContractEventType, ScVal, TransactionEventStage,
    TransactionMeta,
};

use super::{check_format, check_start, Answer, Pagination, Rpc, RpcError};
use crate::chain::{ClosedLedger, LandedTx, View};
use crate::explorer::time::iso;
use crate::xdr;

const EVENTS_MAX: u32 = 10_000;
const EVENTS_DEFAULT: u32 = 100;
/// Ledgers that one request looks through.
const SPAN_MAX: u32 = 10_000;
const FILTERS_MAX: usize = 5;
const TOPICS_MAX: usize = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(rename = "type", default)]
    kinds: String,
    #[serde(default)]
    contract_ids: Vec<String>,
    #[serde(default)]
    topics: Vec<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetEvents {
    start_ledger: Option<u32>,
    end_ledger: Option<u32>,
    #[serde(default)]
    filters: Vec<Filter>,
    #[serde(default)]
    pagination: Pagination,
    xdr_format: Option<String>,
}

enum Segment {
    Any,
    Rest,
    Exactly(ScVal),
}

struct Matcher {
    kinds: Vec<String>,
    contracts: Vec<String>,
    topics: Vec<Vec<Segment>>,
}

impl Matcher {
    fn new(filter: &Filter) -> Result<Self, RpcError> {
        let kinds: Vec<String> = filter
            .kinds
            .split(',')
            .filter(|k| !k.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(kind) = kinds
            .iter()
            .find(|k| !matches!(k.as_str(), "system" | "contract" | "diagnostic"))
        {
            return Err(RpcError::params(format!(
                "filter type invalid: {kind:?}; it can be system, contract"
            )));
        }
        if filter.contract_ids.len() > FILTERS_MAX || filter.topics.len() > FILTERS_MAX {
            return Err(RpcError::params(format!(
                "a filter takes at most {FILTERS_MAX} contract ids and {FILTERS_MAX} topic lists"
            )));
        }
        for id in &filter.contract_ids {
            if stellar_strkey::Contract::from_string(id).is_err() {
                return Err(RpcError::params(format!("contract ID invalid: {id:?}")));
            }
        }
        let topics = filter
            .topics
            .iter()
            .map(|t| segments(t))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            kinds,
            contracts: filter.contract_ids.clone(),
            topics,
        })
    }

    fn matches(&self, event: &ContractEvent) -> bool {
        let kind = kind_name(event);
        let ContractEventBody::V0(body) = &event.body;
        (self.kinds.is_empty() || self.kinds.iter().any(|k| k == kind))
            && (self.contracts.is_empty() || self.contracts.contains(&contract_text(event)))
            && (self.topics.is_empty() || self.topics.iter().any(|t| topics_match(t, &body.topics)))
    }
}

fn segments(topics: &[String]) -> Result<Vec<Segment>, RpcError> {
    let rest = topics.last().is_some_and(|t| t == "**");
    let counted = topics.len() - usize::from(rest);
    if topics.is_empty() || counted > TOPICS_MAX - 1 {
        return Err(RpcError::params("a topic list takes 1 to 4 segments"));
    }
    topics
        .iter()
        .enumerate()
        .map(|(i, text)| match text.as_str() {
            "*" => Ok(Segment::Any),
            "**" if i + 1 == topics.len() => Ok(Segment::Rest),
            text => xdr::from_b64(text)
                .map(Segment::Exactly)
                .map_err(|e| RpcError::params(format!("topic {} invalid: {e}", i + 1))),
        })
        .collect()
}

fn topics_match(wanted: &[Segment], topics: &[ScVal]) -> bool {
    if !matches!(wanted.last(), Some(Segment::Rest)) && wanted.len() != topics.len() {
        return false;
    }
    for (i, segment) in wanted.iter().enumerate() {
        match (segment, topics.get(i)) {
            (Segment::Rest, _) => return true,
            (_, None) => return false,
            (Segment::Exactly(value), Some(topic)) if value != topic => return false,
            _ => {}
        }
    }
    true
}

fn kind_name(event: &ContractEvent) -> &'static str {
    match event.type_ {
        ContractEventType::System => "system",
        ContractEventType::Contract => "contract",
        ContractEventType::Diagnostic => "diagnostic",
    }
}

fn contract_text(event: &ContractEvent) -> String {
    event
        .contract_id
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// Where an event stands: its cursor sorts as the ledger emitted it.
struct Place {
    order: usize,
    operation: u32,
    index: u32,
}

impl Place {
    fn cursor(&self, ledger: u32) -> String {
        let toid = u64::from(ledger) << 32 | (self.order as u64) << 12 | u64::from(self.operation);
        format!("{toid:019}-{:010}", self.index)
    }
}

/// All events of a ledger, in order: fees first, then each transaction's
/// operations, refunds last.
fn events_of(ledger: &ClosedLedger) -> Vec<(Place, usize, &ContractEvent)> {
    let mut out = Vec::new();
    let metas = || {
        ledger
            .txs
            .iter()
            .enumerate()
            .filter_map(|(i, t)| match &t.meta {
                TransactionMeta::V4(meta) => Some((i, t, meta)),
                _ => None,
            })
    };
    let mut fees = 0;
    for (i, _, meta) in metas() {
        for event in meta.events.iter() {
            if event.stage == TransactionEventStage::BeforeAllTxs {
                let place = Place {
                    order: 0,
                    operation: 0,
                    index: fees,
                };
                fees += 1;
                out.push((place, i, &event.event));
            }
        }
    }
    for (i, tx, meta) in metas() {
        if !tx.succeeded() {
            continue;
        }
        for (op, op_meta) in meta.operations.iter().enumerate() {
            for (index, event) in op_meta.events.iter().enumerate() {
                let place = Place {
                    order: i + 1,
                    operation: op as u32,
                    index: index as u32,
                };
                out.push((place, i, event));
            }
        }
    }
    let mut refunds = 0;
    for (i, _, meta) in metas() {
        for event in meta.events.iter() {
            if event.stage != TransactionEventStage::BeforeAllTxs {
                let place = Place {
                    order: (1 << 20) - 1,
                    operation: 0,
                    index: refunds,
                };
                refunds += 1;
                out.push((place, i, &event.event));
            }
        }
    }
    out
}

pub(super) fn get_events(rpc: &Rpc, view: &View, params: GetEvents) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    let limit = params.pagination.limit(EVENTS_DEFAULT, EVENTS_MAX)?;
    if params.filters.len() > FILTERS_MAX {
        return Err(RpcError::params(format!(
            "maximum {FILTERS_MAX} filters per request"
        )));
    }
    let matchers = params
        .filters
        .iter()
        .map(Matcher::new)
        .collect::<Result<Vec<_>, _>>()?;
    let after = params.pagination.cursor().map(str::to_owned);
    let start = match (&after, params.start_ledger) {
        (Some(_), Some(_)) => {
            return Err(RpcError::params(
                "ledger ranges and cursor cannot both be set",
            ))
        }
        (Some(cursor), None) => cursor_ledger(cursor)?,
        (None, Some(start)) => {
            check_start(start, view)?;
            start
        }
        (None, None) => return Err(RpcError::params("startLedger must be positive")),
    };
    let latest = view.latest.seq();
    let wanted_end = params.end_ledger.unwrap_or(u32::MAX);
    if wanted_end <= start && params.end_ledger.is_some() {
        return Err(RpcError::params("endLedger must be after startLedger"));
    }
    // The end is exclusive.
    let end = wanted_end
        .min(start.saturating_add(SPAN_MAX))
        .min(latest + 1);
    let mut events = Vec::new();
    let mut cursor = None;
    rpc.node.read(|chain| {
        for seq in start.max(view.oldest.seq())..end {
            let Some(ledger) = chain.ledger(seq) else {
                continue;
            };
            for (place, index, event) in events_of(ledger) {
                let id = place.cursor(seq);
                let wanted = matchers.is_empty() || matchers.iter().any(|m| m.matches(event));
                if !wanted || after.as_ref().is_some_and(|a| id <= *a) {
                    continue;
                }
                if events.len() >= limit {
                    return;
                }
                cursor = Some(id.clone());
                events.push(describe(ledger, &ledger.txs[index], event, &place, &id));
            }
        }
        if events.len() < limit {
            cursor = None;
        }
    });
    let end_cursor = format!("{:019}-{:010}", (u64::from(end) << 32) - 1, u32::MAX);
    let cursor = cursor.unwrap_or_else(|| match &after {
        Some(after) if *after > end_cursor => after.clone(),
        _ => end_cursor,
    });
    Ok(json!({
        "events": events,
        "cursor": cursor,
        "latestLedger": latest,
        "latestLedgerCloseTime": view.latest.close_time().to_string(),
        "oldestLedger": view.oldest.seq(),
        "oldestLedgerCloseTime": view.oldest.close_time().to_string(),
    }))
}

fn cursor_ledger(cursor: &str) -> Result<u32, RpcError> {
    cursor
        .split_once('-')
        .and_then(|(toid, _)| toid.parse::<u64>().ok())
        .map(|toid| (toid >> 32) as u32)
        .ok_or_else(|| RpcError::params(format!("invalid cursor {cursor:?}")))
}

fn describe(
    ledger: &ClosedLedger,
    tx: &LandedTx,
    event: &ContractEvent,
    place: &Place,
    id: &str,
) -> Value {
    let ContractEventBody::V0(body) = &event.body;
    let index = ledger.txs.iter().position(|t| t.hash == tx.hash);
    json!({
        "type": kind_name(event),
        "ledger": ledger.seq(),
        "ledgerClosedAt": iso(ledger.close_time()),
        "contractId": contract_text(event),
        "id": id,
        "operationIndex": place.operation,
        "transactionIndex": index.map_or(0, |i| i + 1),
        "txHash": hex::encode(tx.hash),
        "inSuccessfulContractCall": tx.succeeded(),
        "topic": body.topics.iter().map(xdr::b64).collect::<Vec<_>>(),
        "value": xdr::b64(&body.data),
    })
}
