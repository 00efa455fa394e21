//! Tests of behaviour run twice: against this source, and against the built and
//! committed wasm (`each_code`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

mod administration;
mod authority;
mod budgets;
mod distributions;
mod hostile;
mod invariants;
mod money;
mod world;
