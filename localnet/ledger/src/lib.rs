//! A local Stellar ledger: the real contract host and the real Stellar RPC on
//! one machine, with faults on request.
//!
//! The writer (`node`) owns the ledger; everything that reads works on immutable
//! snapshots of a closed ledger, so a slow reader never delays a close.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Failures here are the protocol's own result types; each is made once a
// transaction, so their size costs nothing worth a box.
#![allow(clippy::result_large_err)]

pub mod account;
pub mod admin;
pub mod apply;
pub mod chain;
pub mod close;
pub mod config;
mod cost_model;
pub mod events;
pub mod explorer;
pub mod faults;
pub mod friendbot;
pub mod host;
pub mod http;
pub mod node;
pub mod options;
pub mod queue;
pub mod rpc;
pub mod signatures;
pub mod state;
pub mod store;
pub mod tx;
pub mod validate;
pub mod xdr;
