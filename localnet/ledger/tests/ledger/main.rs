//! What a user of the ledger may rely on, one rule a test.

mod classic;
mod contracts;
mod durability;
mod faults;
mod net;
mod queue;
mod rpc;
mod sponsorship;
mod validity;
