//! HTTP: routes, and a server that can close a connection without an answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::FormRejection;
use axum::extract::{Extension, Form, Path, Query, State as AppState};
use axum::http::{header, HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::admin;
use crate::explorer;
use crate::friendbot;
use crate::node::Node;
use crate::options::Options;
use crate::rpc::{Reply, Rpc};
use crate::xdr;

/// The largest request: the largest transaction in base64, with room.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Closes the connection that a request came by.
#[derive(Clone)]
struct Hangup(Arc<Notify>);

/// Which of the two ports a request came by: how far that node lags.
#[derive(Clone, Copy)]
struct Lag(u32);

/// Binds a port. A taken one is told by the name of its flag.
pub async fn bind(options: &Options, port: u16, flag: &str) -> Result<TcpListener, String> {
    let address = SocketAddr::new(options.host, port);
    TcpListener::bind(address)
        .await
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => format!(
                "{flag} {port} is taken on {}: choose another, or 0 for any free one",
                options.host
            ),
            _ => format!("can't listen on {address} ({flag}): {e}"),
        })
}

/// A server with its node, not yet accepting.
pub struct Server {
    rpc: Arc<Rpc>,
    listeners: Vec<(TcpListener, u32)>,
    /// Address of the first port.
    pub url: String,
}

impl Server {
    /// Binds the ports, then opens the ledger.
    pub async fn start(options: Options) -> Result<Self, String> {
        let listener = bind(&options, options.port, "--port").await?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let url = format!("http://{}", SocketAddr::new(options.host, port));
        let mut listeners = vec![(listener, 0)];
        if let Some(second) = options.second_port {
            let listener = bind(&options, second, "--second-port").await?;
            listeners.push((listener, options.second_lag));
        }
        let node = Node::start(&options)?;
        let workers = std::thread::available_parallelism().map_or(2, usize::from);
        let rpc = Rpc {
            node,
            options,
            base_url: url.clone(),
            simulations: tokio::sync::Semaphore::new(workers),
        };
        Ok(Self {
            rpc: Arc::new(rpc),
            listeners,
            url,
        })
    }

    /// What the server serves.
    pub fn rpc(&self) -> Arc<Rpc> {
        self.rpc.clone()
    }

    /// Serves until the task is dropped.
    pub async fn run(self) {
        let mut accepting = Vec::new();
        for (listener, lag) in self.listeners {
            let router = router(self.rpc.clone()).layer(Extension(Lag(lag)));
            accepting.push(tokio::spawn(accept(listener, router)));
        }
        for task in accepting {
            let _ = task.await;
        }
    }
}

async fn accept(listener: TcpListener, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let hangup = Arc::new(Notify::new());
        let service = router.clone().layer(Extension(Hangup(hangup.clone())));
        tokio::spawn(async move {
            let service = hyper_util::service::TowerToHyperService::new(service);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            tokio::select! {
                // A client that goes away in the middle is none of our errors.
                _ = connection => {}
                () = hangup.notified() => {}
            }
        });
    }
}

fn router(rpc: Arc<Rpc>) -> Router {
    Router::new()
        .route("/", get(home).post(json_rpc))
        .route("/rpc", post(json_rpc))
        .route("/friendbot", get(friendbot_get).post(friendbot_post))
        .route("/tx/{hash}", get(page_tx))
        .route("/account/{id}", get(page_account))
        .route("/contract/{id}", get(page_contract))
        .route("/ledger/{seq}", get(page_ledger))
        .route("/search", get(page_search))
        .route("/health", get(health))
        .merge(admin::routes())
        .layer(axum::extract::DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(cors))
        .with_state(rpc)
}

async fn cors(request: Request<Body>, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS;
    let mut response = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let any = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any.clone());
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, any);
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    );
    response
}

async fn json_rpc(
    AppState(rpc): AppState<Arc<Rpc>>,
    Extension(Lag(lag)): Extension<Lag>,
    Extension(Hangup(hangup)): Extension<Hangup>,
    body: Bytes,
) -> Response {
    match rpc.handle(&body, lag).await {
        Reply::Answer(answer) => Json(answer).into_response(),
        Reply::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable\n").into_response(),
        Reply::Drop => {
            hangup.notify_one();
            // The connection ends this task before it could answer.
            std::future::pending().await
        }
    }
}

async fn health(AppState(rpc): AppState<Arc<Rpc>>) -> Response {
    let seq = rpc.node.view().latest.seq();
    Json(json!({"status": "healthy", "latestLedger": seq})).into_response()
}

#[derive(Deserialize)]
struct Fund {
    addr: Option<String>,
}

async fn friendbot_get(rpc: AppState<Arc<Rpc>>, Query(fund): Query<Fund>) -> Response {
    fund_account(rpc, fund).await
}

async fn friendbot_post(
    rpc: AppState<Arc<Rpc>>,
    Query(query): Query<Fund>,
    form: Result<Form<Fund>, FormRejection>,
) -> Response {
    let addr = query.addr.or(form.ok().and_then(|f| f.0.addr));
    fund_account(rpc, Fund { addr }).await
}

fn bad_request(detail: &str) -> Response {
    let body = json!({
        "type": "https://stellar.org/horizon-errors/bad_request",
        "title": "Bad Request",
        "status": 400,
        "detail": detail,
    });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

async fn fund_account(AppState(rpc): AppState<Arc<Rpc>>, fund: Fund) -> Response {
    let Some(addr) = fund.addr else {
        return bad_request("the addr parameter is missing");
    };
    let Ok(key) = stellar_strkey::ed25519::PublicKey::from_string(&addr) else {
        return bad_request("addr is not an account's address (G...)");
    };
    match rpc.node.fund(xdr::account_id(key.0)).await {
        Ok(found) => {
            let tx = found.tx();
            Json(json!({
                "successful": true,
                "hash": hex::encode(tx.hash),
                "ledger": found.ledger.seq(),
                "envelope_xdr": xdr::b64(&tx.envelope),
                "result_xdr": xdr::b64(&tx.result),
                "result_meta_xdr": xdr::b64(&tx.meta),
            }))
            .into_response()
        }
        Err(e) if e == friendbot::ALREADY_FUNDED => bad_request(&e),
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, e).into_response(),
    }
}

fn page(shown: Result<String, String>) -> Response {
    match shown {
        Ok(page) => Html(page).into_response(),
        Err(page) => (StatusCode::NOT_FOUND, Html(page)).into_response(),
    }
}

async fn home(AppState(rpc): AppState<Arc<Rpc>>, headers: HeaderMap) -> Response {
    // A client that asks the RPC by GET gets told how to ask.
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|a| a.to_str().ok())
        .is_some_and(|a| a.starts_with("application/json"));
    if wants_json {
        let message = json!({"error": "JSON-RPC requests are POSTed"});
        return (StatusCode::METHOD_NOT_ALLOWED, Json(message)).into_response();
    }
    page(Ok(explorer::home(&rpc)))
}

async fn page_tx(AppState(rpc): AppState<Arc<Rpc>>, Path(hash): Path<String>) -> Response {
    page(explorer::transaction(&rpc, &hash))
}

async fn page_account(AppState(rpc): AppState<Arc<Rpc>>, Path(id): Path<String>) -> Response {
    page(explorer::account(&rpc, &id))
}

async fn page_contract(AppState(rpc): AppState<Arc<Rpc>>, Path(id): Path<String>) -> Response {
    page(explorer::contract(&rpc, &id))
}

async fn page_ledger(AppState(rpc): AppState<Arc<Rpc>>, Path(seq): Path<String>) -> Response {
    page(explorer::ledger(&rpc, &seq))
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn page_search(AppState(rpc): AppState<Arc<Rpc>>, Query(search): Query<Search>) -> Response {
    match explorer::search(search.q.trim()) {
        Some(path) => axum::response::Redirect::to(&path).into_response(),
        None => page(Err(explorer::nothing(&rpc, &search.q))),
    }
}
