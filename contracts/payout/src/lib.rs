//! Payout: holds money, and pays lists of it, once for each id.
//!
//! The contract's own balance is what it pays from. Whoever wants payouts made
//! funds it first; what a stolen key of the executor can take is bounded by the
//! balance, by the caps for a call and for a day, and by the pause.
//!
//! Three powers, held apart:
//!
//! * the **executor** is the payer's account: the only caller of what pays or
//!   voids. Its authorization of one call, with nothing beneath, is all that a
//!   payout needs, since the contract itself is the one whose money moves;
//! * the **admin** allows tokens and their caps, withdraws, pauses, upgrades and
//!   names the executor, but cannot pay. It hands over in two steps;
//! * **anybody** may read, and fund.
//!
//! Amounts are `i128` in units of 10^-7 token; a token is checked for seven
//! decimals when it is allowed.
//!
//! | module         | holds                                                     |
//! |----------------|-----------------------------------------------------------|
//! | `contract`     | the functions, in the order in which a reader meets them   |
//! | `distribution` | checks and moves of one distribution                       |
//! | `storage`      | state, keys, TTLs                                          |
//! | `types`        | what goes in and comes out                                 |
//! | `errors`       | numbered refusals                                          |
//! | `events`       | what the ledger tells                                      |
#![no_std]

#[cfg(test)]
extern crate std;

mod contract;
mod distribution;
mod errors;
mod events;
mod storage;
#[cfg(test)]
mod test;
mod types;

pub use contract::{Payout, PayoutClient};
pub use distribution::MAX_RECIPIENTS;
pub use errors::{AdminError, PayoutError};
pub use settlement_marker::{Marker, MarkerError, MarkerKey};
pub use storage::DataKey;
pub use types::{Caps, Config, Distribution, Settled, TokenState};
