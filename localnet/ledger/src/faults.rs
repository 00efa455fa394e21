//! Faults on request: what the network, or the way to it, does wrong, for so
//! many requests or so many seconds.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

/// Methods of the RPC.
pub const METHODS: &[&str] = &[
    "getHealth",
    "getNetwork",
    "getVersionInfo",
    "getFeeStats",
    "getLatestLedger",
    "getLedgers",
    "getLedgerEntries",
    "getTransaction",
    "getTransactions",
    "getEvents",
    "simulateTransaction",
    "sendTransaction",
];

/// Methods whose answer depends on how far a node has come.
const READS: &[&str] = &[
    "getHealth",
    "getFeeStats",
    "getLatestLedger",
    "getLedgers",
    "getLedgerEntries",
    "getTransaction",
    "getTransactions",
    "getEvents",
    "simulateTransaction",
];

const SEND: &[&str] = &["sendTransaction"];
const LOOK_UP: &[&str] = &["getTransaction"];
const SIMULATE: &[&str] = &["simulateTransaction"];

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request takes effect, then the connection closes without an answer.
    DropAnswerAfter,
    /// The connection closes before the request takes effect.
    DropAnswerBefore,
    /// HTTP 503, nothing done.
    Unavailable,
    /// The answer comes late.
    Delay,
    /// TRY_AGAIN_LATER, nothing done.
    TryAgainLater,
    /// NOT_FOUND for a hash that has landed.
    NotFound,
    /// Reads answer as of some ledgers ago.
    IngestionLag,
    /// The hash is looked up some ledgers ago, the range is told as of now.
    IngestionLagBetween,
    /// Every other read is answered by a node some ledgers behind.
    LaggingNode,
    /// ERROR txBAD_SEQ for an envelope that waits or has landed.
    BadSeqOnResend,
    /// ERROR txINSUFFICIENT_FEE for an envelope that waits or has landed.
    InsufficientFeeOnResend,
    /// A simulation asks for an authorization that the call does not need.
    HostileSimulation,
    /// No ledger closes.
    StalledLedger,
}

impl Kind {
    /// All kinds.
    pub const ALL: &'static [Kind] = &[
        Kind::DropAnswerAfter,
        Kind::DropAnswerBefore,
        Kind::Unavailable,
        Kind::Delay,
        Kind::TryAgainLater,
        Kind::NotFound,
        Kind::IngestionLag,
        Kind::IngestionLagBetween,
        Kind::LaggingNode,
        Kind::BadSeqOnResend,
        Kind::InsufficientFeeOnResend,
        Kind::HostileSimulation,
        Kind::StalledLedger,
    ];

    /// Its name in requests.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            _ => String::new(),
        }
    }

    /// What it does, in a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::DropAnswerAfter => {
                "the request takes effect, then the connection closes with no answer"
            }
            Self::DropAnswerBefore => "the connection closes before anything is done",
            Self::Unavailable => "HTTP 503 and nothing is done",
            Self::Delay => "the answer comes `ms` milliseconds late",
            Self::TryAgainLater => "TRY_AGAIN_LATER and nothing is done",
            Self::NotFound => "NOT_FOUND, although the transaction has landed",
            Self::IngestionLag => "reads answer as of `ledgers` ledgers ago",
            Self::IngestionLagBetween => {
                "the hash is looked up `ledgers` ledgers ago, the range is told as of now"
            }
            Self::LaggingNode => "every other read is answered by a node `ledgers` ledgers behind",
            Self::BadSeqOnResend => "ERROR txBAD_SEQ for an envelope that waits or has landed",
            Self::InsufficientFeeOnResend => {
                "ERROR txINSUFFICIENT_FEE for an envelope that waits or has landed"
            }
            Self::HostileSimulation => {
                "the simulation adds a token transfer of the payer's funds to a stranger, as a \
                 `sub_invocation` of its authorization or as an `entry` of its own (`shape`)"
            }
            Self::StalledLedger => "no ledger closes (a count is of closes that are left out)",
        }
    }

    /// Methods it strikes where none is named.
    pub fn natural_methods(self) -> &'static [&'static str] {
        match self {
            Self::Unavailable | Self::Delay => METHODS,
            Self::DropAnswerAfter
            | Self::DropAnswerBefore
            | Self::TryAgainLater
            | Self::BadSeqOnResend
            | Self::InsufficientFeeOnResend => SEND,
            Self::NotFound | Self::IngestionLagBetween => LOOK_UP,
            Self::IngestionLag | Self::LaggingNode => READS,
            Self::HostileSimulation => SIMULATE,
            Self::StalledLedger => &[],
        }
    }

    /// Methods that it may be asked for.
    pub fn possible_methods(self) -> &'static [&'static str] {
        match self {
            Self::DropAnswerAfter | Self::DropAnswerBefore => METHODS,
            _ => self.natural_methods(),
        }
    }

    fn takes_ms(self) -> bool {
        self == Self::Delay
    }

    fn takes_ledgers(self) -> bool {
        matches!(
            self,
            Self::IngestionLag | Self::IngestionLagBetween | Self::LaggingNode
        )
    }

    fn takes_theft(self) -> bool {
        self == Self::HostileSimulation
    }
}

/// How a hostile simulation hides its transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Beneath what the payer is asked to sign anyway.
    #[default]
    SubInvocation,
    /// As an authorization entry of its own.
    Entry,
}

/// A request for a fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What goes wrong.
    pub kind: Kind,
    /// The one method it strikes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// For so many requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// For so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Milliseconds of a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Ledgers of a lag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledgers: Option<u32>,
    /// Form of a hostile authorization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    /// Token contract of a hostile transfer (the native asset's by default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Amount of a hostile transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
}

/// Names of a request's fields.
pub const FIELDS: &[&str] = &[
    "kind", "method", "count", "seconds", "ms", "ledgers", "shape", "token", "amount",
];

impl Request {
    /// A fault with nothing but its kind.
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            method: None,
            count: None,
            seconds: None,
            ms: None,
            ledgers: None,
            shape: None,
            token: None,
            amount: None,
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = self.kind.name();
        if let Some(method) = &self.method {
            let possible = self.kind.possible_methods();
            if !possible.contains(&method.as_str()) {
                return Err(if possible.is_empty() {
                    format!("{name} takes no method")
                } else {
                    format!(
                        "{name} can't strike {method:?}; it can: {}",
                        possible.join(", ")
                    )
                });
            }
        }
        if self.count == Some(0) {
            return Err("count must be at least 1".into());
        }
        if self
            .seconds
            .is_some_and(|s| !s.is_finite() || s <= 0.0 || s > 86_400.0)
        {
            return Err("seconds must be above 0 and at most 86400".into());
        }
        let theft = self.shape.is_some() || self.token.is_some() || self.amount.is_some();
        let wrong = [
            (self.ms.is_some() && !self.kind.takes_ms(), "ms"),
            (
                self.ledgers.is_some() && !self.kind.takes_ledgers(),
                "ledgers",
            ),
            (theft && !self.kind.takes_theft(), "shape, token and amount"),
        ];
        match wrong.iter().find(|w| w.0) {
            Some((_, field)) => Err(format!("{name} does not take {field}")),
            None => Ok(()),
        }
    }
}

struct Active {
    id: u64,
    request: Request,
    remaining: Option<u32>,
    until: Option<Instant>,
    hits: u64,
}

impl Active {
    fn is_over(&self) -> bool {
        self.remaining == Some(0) || self.until.is_some_and(|u| u <= Instant::now())
    }

    fn strikes(&self, kind: Kind, method: &str) -> bool {
        self.request.kind == kind
            && match &self.request.method {
                Some(only) => only == method,
                None => {
                    let natural = kind.natural_methods();
                    natural.is_empty() || natural.contains(&method)
                }
            }
    }
}

/// A fault that struck, with its parameters.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The request that made it.
    pub request: Request,
    /// How often it had struck before.
    pub nth: u64,
}

impl Hit {
    /// Milliseconds of a delay.
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.request.ms.unwrap_or(2_000))
    }

    /// Ledgers of a lag.
    pub fn ledgers(&self) -> u32 {
        self.request.ledgers.unwrap_or(3)
    }
}

/// All active faults.
#[derive(Default)]
pub struct Faults {
    active: Mutex<(u64, Vec<Active>)>,
}

impl Faults {
    fn with<T>(&self, act: impl FnOnce(&mut u64, &mut Vec<Active>) -> T) -> T {
        let mut guard = self.active.lock().unwrap_or_else(|e| e.into_inner());
        let (next, active) = &mut *guard;
        active.retain(|a| !a.is_over());
        act(next, active)
    }

    /// Adds a fault. Without count or seconds it strikes once.
    pub fn add(&self, request: Request) -> Result<Value, String> {
        request.check()?;
        let remaining = match (request.count, request.seconds) {
            (None, None) => Some(1),
            (count, _) => count,
        };
        let until = request
            .seconds
            .map(|s| Instant::now() + Duration::from_secs_f64(s));
        Ok(self.with(|next, active| {
            *next += 1;
            let fault = Active {
                id: *next,
                request,
                remaining,
                until,
                hits: 0,
            };
            let shown = show(&fault);
            active.push(fault);
            shown
        }))
    }

    /// Uses up one strike of a fault, if one is active for this method.
    pub fn take(&self, kind: Kind, method: &str) -> Option<Hit> {
        self.take_if(kind, method, || true)
    }

    /// The same, where it depends on the request whether a fault can strike.
    pub fn take_if(&self, kind: Kind, method: &str, applies: impl FnOnce() -> bool) -> Option<Hit> {
        self.with(|_, active| {
            let fault = active.iter_mut().find(|a| a.strikes(kind, method))?;
            if !applies() {
                return None;
            }
            if let Some(left) = &mut fault.remaining {
                *left -= 1;
            }
            fault.hits += 1;
            Some(Hit {
                request: fault.request.clone(),
                nth: fault.hits - 1,
            })
        })
    }

    /// Active faults with what remains of each.
    pub fn list(&self) -> Value {
        self.with(|_, active| Value::Array(active.iter().map(show).collect()))
    }

    /// Ends all faults; tells how many there were.
    pub fn clear(&self) -> usize {
        self.with(|_, active| std::mem::take(active).len())
    }
}

fn show(fault: &Active) -> Value {
    let mut shown = serde_json::to_value(&fault.request).unwrap_or_else(|_| json!({}));
    shown["id"] = json!(fault.id);
    shown["hits"] = json!(fault.hits);
    if let Some(left) = fault.remaining {
        shown["remaining_count"] = json!(left);
    }
    if let Some(until) = fault.until {
        let left = until.saturating_duration_since(Instant::now());
        shown["remaining_seconds"] = json!((left.as_secs_f64() * 10.0).round() / 10.0);
    }
    shown
}
