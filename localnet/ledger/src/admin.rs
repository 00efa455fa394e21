//! Administration of the local network: time, entries, faults. There is no
//! lock on it; the ledger listens on this machine only, unless told otherwise.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State as AppState;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::Deserialize;
use serde_json::{json, Value};
use stellar_xdr::LedgerKey;

use crate::chain::ClosedLedger;
use crate::faults::{self, Kind};
use crate::node::Advance;
use crate::rpc::Rpc;
use crate::xdr;

/// Ledgers that one request may close.
const ADVANCE_MAX: u32 = 10_000_000;

/// The admin routes.
pub fn routes() -> Router<Arc<Rpc>> {
    Router::new()
        .route("/admin", get(explain))
        .route("/admin/", get(explain))
        .route(
            "/admin/faults",
            get(list_faults).post(add_fault).delete(clear_faults),
        )
        .route("/admin/ledgers/close", post(close_ledger))
        .route("/admin/ledgers/advance", post(advance_ledgers))
        .route("/admin/entries/ttl", post(set_ttl))
        .route("/admin/reset", post(reset))
}

fn refuse(error: String) -> Response {
    let kinds: Vec<String> = Kind::ALL.iter().map(|k| k.name()).collect();
    let body = json!({"error": error, "kinds": kinds, "fields": faults::FIELDS});
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Response>> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|e| {
        let body = json!({"error": e.to_string()});
        Box::new((StatusCode::BAD_REQUEST, Json(body)).into_response())
    })
}

async fn explain() -> Json<Value> {
    let kinds: Vec<Value> = Kind::ALL
        .iter()
        .map(|k| {
            json!({
                "kind": k.name(),
                "does": k.sentence(),
                "strikes": k.natural_methods(),
                "may_strike": k.possible_methods(),
            })
        })
        .collect();
    Json(json!({
        "endpoints": {
            "GET /admin": "this page",
            "POST /admin/ledgers/close": "closes a ledger now",
            "POST /admin/ledgers/advance": "closes {count} ledgers now; {seconds_each} moves the network's clock ahead with each (default 0)",
            "POST /admin/entries/ttl": "forces {liveUntilLedgerSeq} of the contract entry {key} (base64 XDR); one ledger closes",
            "POST /admin/reset": "the network begins anew with another genesis",
            "GET /admin/faults": "active faults with what remains of each",
            "POST /admin/faults": "adds a fault: {kind, method?, count? or seconds?, ms?, ledgers?, shape?, token?, amount?}; without count and seconds it strikes once",
            "DELETE /admin/faults": "ends all faults",
        },
        "faults": kinds,
    }))
}

async fn list_faults(AppState(rpc): AppState<Arc<Rpc>>) -> Json<Value> {
    Json(json!({"faults": rpc.node.faults.list()}))
}

async fn add_fault(AppState(rpc): AppState<Arc<Rpc>>, body: Bytes) -> Response {
    let request: faults::Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(e) => return refuse(e.to_string()),
    };
    match rpc.node.faults.add(request) {
        Ok(shown) => (StatusCode::CREATED, Json(shown)).into_response(),
        Err(e) => refuse(e),
    }
}

async fn clear_faults(AppState(rpc): AppState<Arc<Rpc>>) -> Json<Value> {
    Json(json!({"cleared": rpc.node.faults.clear()}))
}

fn ledger_answer(result: Result<Arc<ClosedLedger>, String>) -> Response {
    match result {
        Ok(ledger) => Json(json!({
            "latestLedger": ledger.seq(),
            "hash": hex::encode(ledger.hash.0),
            "closeTime": ledger.close_time().to_string(),
        }))
        .into_response(),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e).into_response(),
    }
}

async fn close_ledger(AppState(rpc): AppState<Arc<Rpc>>) -> Response {
    let once = Advance {
        count: 1,
        seconds_each: 0,
    };
    ledger_answer(rpc.node.advance(once).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceRequest {
    count: u32,
    #[serde(default)]
    seconds_each: u64,
}

async fn advance_ledgers(AppState(rpc): AppState<Arc<Rpc>>, body: Bytes) -> Response {
    let request: AdvanceRequest = match parse(&body) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    if !(1..=ADVANCE_MAX).contains(&request.count) || request.seconds_each > 86_400 {
        let error = format!("count must be 1 to {ADVANCE_MAX}, seconds_each at most 86400");
        return (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    }
    let advance = Advance {
        count: request.count,
        seconds_each: request.seconds_each,
    };
    ledger_answer(rpc.node.advance(advance).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TtlRequest {
    key: String,
    live_until_ledger_seq: u32,
}

async fn set_ttl(AppState(rpc): AppState<Arc<Rpc>>, body: Bytes) -> Response {
    let request: TtlRequest = match parse(&body) {
        Ok(request) => request,
        Err(response) => return *response,
    };
    let outcome = match xdr::from_b64::<LedgerKey>(&request.key) {
        Ok(key) => rpc.node.set_ttl(key, request.live_until_ledger_seq).await,
        Err(e) => Err(format!("key: {e}")),
    };
    match outcome {
        Ok(()) => Json(json!({
            "liveUntilLedgerSeq": request.live_until_ledger_seq,
            "latestLedger": rpc.node.view().latest.seq(),
        }))
        .into_response(),
        Err(e) => (StatusCode::BAD_REQUEST, Json(json!({"error": e}))).into_response(),
    }
}

async fn reset(AppState(rpc): AppState<Arc<Rpc>>) -> Response {
    ledger_answer(rpc.node.reset().await)
}
