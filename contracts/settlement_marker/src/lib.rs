//! The settlement marker: the contract's own memory of every id it has settled.
//!
//! Every call that moves money carries a 32-byte id, chosen by the caller from
//! what it settles. The marker makes that id good for one payment, for ever:
//!
//! | the id was       | and the arguments are | answer                                   |
//! |------------------|-----------------------|------------------------------------------|
//! | never seen       |                       | go on, and [`Fresh::settle`] at the end  |
//! | settled          | the same              | the first outcome; nothing moves         |
//! | settled          | others                | [`MarkerError::IdReused`]                |
//! | voided           | any                   | [`MarkerError::IdVoided`]                |
//!
//! It rests on nothing but the ledger, so it outlives databases, workflow
//! engines and the retention of RPC nodes. Whoever waits for a payment can
//! compute the ledger key of its marker (see [`MarkerKey`]) and read it without
//! calling the contract.
//!
//! # Security
//!
//! Nothing here asks for an authorization. A contract must have asked for its
//! executor's *before* it calls [`claim`] or [`void`]; otherwise anybody can
//! squat an id, or void one that is about to be paid.
#![no_std]

mod errors;
mod storage;
#[cfg(test)]
mod test;
mod types;

pub use errors::MarkerError;
pub use storage::{arguments_hash, claim, get, void};
pub use types::{Claim, Fresh, Marker, MarkerKey};
