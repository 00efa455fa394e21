//! Stellar RPC: JSON-RPC 2.0 over POST. One file a group of methods.

mod events;
mod ledgers;
mod network;
mod simulate;
mod submit;
mod theft;
mod transactions;

use serde::de::DeserializeOwned;
use serde_json::{json, Value};

use crate::chain::View;
use crate::faults::Kind;
use crate::node::Node;
use crate::options::Options;

/// A JSON-RPC error.
#[derive(Debug)]
pub struct RpcError {
    /// JSON-RPC's code.
    pub code: i32,
    /// What was wrong.
    pub message: String,
}

impl RpcError {
    /// The parameters are wrong.
    pub fn params(message: impl Into<String>) -> Self {
        Self {
            code: -32602,
            message: message.into(),
        }
    }

    /// The ledger failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self {
            code: -32603,
            message: message.into(),
        }
    }

    /// The request is wrong.
    pub fn request(message: impl Into<String>) -> Self {
        Self {
            code: -32600,
            message: message.into(),
        }
    }
}

/// What a method gives.
pub type Answer = Result<Value, RpcError>;

/// One RPC server: the node, and how far it lags behind it by itself.
pub struct Rpc {
    /// The ledger.
    pub node: Node,
    /// How it was started.
    pub options: Options,
    /// Where it is reached.
    pub base_url: String,
    /// Simulations that may run at once.
    pub simulations: tokio::sync::Semaphore,
}

/// What became of a request.
pub enum Reply {
    /// An answer.
    Answer(Value),
    /// HTTP 503.
    Unavailable,
    /// The connection is to close without an answer.
    Drop,
}

impl Rpc {
    /// Handles one request body. `lag` is by how many ledgers this address is
    /// behind.
    pub async fn handle(&self, body: &[u8], lag: u32) -> Reply {
        let request: Value = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(e) => {
                return Reply::Answer(failure(Value::Null, -32700, &format!("parse error: {e}")))
            }
        };
        if request.is_array() {
            let message = "batches are not supported";
            return Reply::Answer(failure(Value::Null, -32600, message));
        }
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        let well_formed = request.get("jsonrpc") == Some(&json!("2.0"))
            && (id.is_string() || id.is_number() || id.is_null());
        let Some(method) = request
            .get("method")
            .and_then(Value::as_str)
            .filter(|_| well_formed)
        else {
            return Reply::Answer(failure(id, -32600, "invalid request"));
        };
        let params = match request.get("params") {
            None | Some(Value::Null) => json!({}),
            // Some clients wrap the one object in an array.
            Some(Value::Array(list)) if list.is_empty() => json!({}),
            Some(Value::Array(list)) if list.len() == 1 => list[0].clone(),
            Some(params) => params.clone(),
        };
        self.strike(method, params, id, lag).await
    }

    async fn strike(&self, method: &str, params: Value, id: Value, lag: u32) -> Reply {
        let faults = &self.node.faults;
        if faults.take(Kind::DropAnswerBefore, method).is_some() {
            return Reply::Drop;
        }
        if faults.take(Kind::Unavailable, method).is_some() {
            return Reply::Unavailable;
        }
        if let Some(hit) = faults.take(Kind::Delay, method) {
            tokio::time::sleep(hit.delay()).await;
        }
        let drop_after = faults.take(Kind::DropAnswerAfter, method).is_some();
        let answer = self.call(method, without_nulls(params), lag).await;
        if drop_after {
            return Reply::Drop;
        }
        Reply::Answer(match answer {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(e) => failure(id, e.code, &e.message),
        })
    }

    async fn call(&self, method: &str, params: Value, lag: u32) -> Answer {
        match method {
            "getNetwork" => network::get_network(self),
            "getVersionInfo" => network::get_version_info(),
            "getHealth" => network::get_health(self, &self.lagged(method, lag)),
            "getFeeStats" => network::get_fee_stats(self, &self.lagged(method, lag)),
            "getLatestLedger" => ledgers::get_latest_ledger(&self.lagged(method, lag)),
            "getLedgers" => ledgers::get_ledgers(self, &self.lagged(method, lag), parse(params)?),
            "getLedgerEntries" => {
                ledgers::get_ledger_entries(&self.lagged(method, lag), &parse(params)?)
            }
            "getTransaction" => {
                transactions::get_transaction(self, &self.lagged(method, lag), &parse(params)?)
            }
            "getTransactions" => {
                transactions::get_transactions(self, &self.lagged(method, lag), parse(params)?)
            }
            "getEvents" => events::get_events(self, &self.lagged(method, lag), parse(params)?),
            "simulateTransaction" => {
                simulate::simulate(self, self.lagged(method, lag), parse(params)?).await
            }
            "sendTransaction" => submit::send(self, parse(params)?).await,
            _ => Err(RpcError {
                code: -32601,
                message: format!("method not found: {method}"),
            }),
        }
    }

    /// The view that this request is served from.
    fn lagged(&self, method: &str, lag: u32) -> View {
        let mut behind = lag;
        if let Some(hit) = self.node.faults.take(Kind::IngestionLag, method) {
            behind = behind.max(hit.ledgers());
        }
        if let Some(hit) = self.node.faults.take(Kind::LaggingNode, method) {
            // Two nodes behind one address, asked in turn.
            if hit.nth % 2 == 0 {
                behind = behind.max(hit.ledgers());
            }
        }
        self.node.read(|chain| chain.view_behind(behind))
    }
}

fn failure(id: Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

/// Clients send explicit nulls for what they leave out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k, without_nulls(v)))
                .collect(),
        ),
        other => other,
    }
}

fn parse<T: DeserializeOwned>(params: Value) -> Result<T, RpcError> {
    serde_json::from_value(params).map_err(|e| RpcError::params(format!("invalid parameters: {e}")))
}

/// Only base64 is served; asking for anything else is told, not ignored.
pub(crate) fn check_format(format: Option<&str>) -> Result<(), RpcError> {
    match format {
        None | Some("" | "base64") => Ok(()),
        Some(other) => Err(RpcError::params(format!(
            "xdrFormat {other:?} is not supported here; base64 is"
        ))),
    }
}

/// Which part of history a request wants.
#[derive(Default, serde::Deserialize)]
pub(crate) struct Pagination {
    pub cursor: Option<String>,
    pub limit: Option<u32>,
}

impl Pagination {
    pub(crate) fn limit(&self, default: u32, max: u32) -> Result<usize, RpcError> {
        match self.limit {
            None => Ok(default as usize),
            Some(limit) if (1..=max).contains(&limit) => Ok(limit as usize),
            Some(limit) => Err(RpcError::params(format!(
                "limit must be between 1 and {max}, not {limit}"
            ))),
        }
    }

    pub(crate) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref().filter(|c| !c.is_empty())
    }
}

/// A start outside the retained range is told with the range.
pub(crate) fn check_start(start: u32, view: &View) -> Result<(), RpcError> {
    let (oldest, latest) = (view.oldest.seq(), view.latest.seq());
    if (oldest..=latest).contains(&start) {
        return Ok(());
    }
    Err(RpcError::request(format!(
        "start ledger must be between the oldest ledger: {oldest} and the latest ledger: {latest} \
         for this rpc instance"
    )))
}
