//! A small explorer, rendered on the server.

pub mod time;
pub mod value;

use crate::rpc::Rpc;

/// Latest ledgers and transactions.
pub fn home(_rpc: &Rpc) -> String {
    String::new()
}
/// One transaction.
pub fn transaction(_rpc: &Rpc, _h: &str) -> Result<String, String> {
    Err(String::new())
}
/// One account.
pub fn account(_rpc: &Rpc, _h: &str) -> Result<String, String> {
    Err(String::new())
}
/// One contract.
pub fn contract(_rpc: &Rpc, _h: &str) -> Result<String, String> {
    Err(String::new())
}
/// One ledger.
pub fn ledger(_rpc: &Rpc, _h: &str) -> Result<String, String> {
    Err(String::new())
}
/// Where a search leads.
pub fn search(_q: &str) -> Option<String> {
    None
}
/// Nothing found.
pub fn nothing(_rpc: &Rpc, _q: &str) -> String {
    String::new()
}
