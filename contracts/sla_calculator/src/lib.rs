//! SLA calculator: decides what an outage costs or earns, and pays it once.
//!
//! A resolved outage has a severity and a time to repair (MTTR, in whole
//! minutes). Over the threshold its operator owes a penalty, in USDC, which the
//! contract draws by SEP-41 allowance into the pool. Within the threshold the
//! NOC team earns a reward, in the reward token, from the pool.
//!
//! Three powers, held apart:
//!
//! * the **executor** is the pool account. It holds the reward tokens, receives
//!   the penalties, and is the only caller of everything that pays, voids or
//!   anchors. Payer and caller are one account, so that one signature (or one
//!   authorization entry) covers a payment whole;
//! * the **admin** sets terms and bands, pauses, upgrades and names the
//!   executor, but cannot pay. It hands over in two steps;
//! * **anybody** may read.
//!
//! Amounts are `i128` in units of 10^-7 token; both tokens are checked for seven
//! decimals at construction and are fixed from then on.
//!
//! | module      | holds                                                       |
//! |-------------|-------------------------------------------------------------|
//! | `contract`  | the functions, in the order in which a reader meets them     |
//! | `sla`       | the arithmetic, pure                                         |
//! | `payment`   | the moves of money                                           |
//! | `rca`       | anchors of root-cause reports                                |
//! | `storage`   | state, keys, TTLs                                            |
//! | `types`     | what goes in and comes out                                   |
//! | `errors`    | numbered refusals                                            |
//! | `events`    | what the ledger tells                                        |
#![no_std]

#[cfg(test)]
extern crate std;

mod contract;
mod errors;
mod events;
mod payment;
mod rca;
mod sla;
mod storage;
#[cfg(test)]
mod test;
mod types;

pub use contract::{SlaCalculator, SlaCalculatorClient};
pub use errors::{AdminError, SlaError};
pub use settlement_marker::{Marker, MarkerError, MarkerKey};
pub use storage::DataKey;
pub use types::{
    Bands, Config, PaymentKind, PaymentResult, Rating, RcaAnchor, Settled, Severity, SlaResult,
    Terms,
};
