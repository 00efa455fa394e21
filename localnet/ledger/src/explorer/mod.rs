//! A small explorer, rendered on the server: what happened, in words.

mod entity;
mod operation;
mod page;
pub mod time;
mod transaction;
pub mod value;

pub use entity::{account, contract};
pub use transaction::transaction;

use crate::chain::{ClosedLedger, Found};
use crate::rpc::Rpc;
use page::{escape, ledger_link, table, tx_link};

/// Transactions that a list shows.
const ROWS_MAX: usize = 25;
/// Ledgers that a list is looked for in.
const LEDGERS_SEEN: usize = 5_000;

fn tx_row(found: &Found) -> Vec<String> {
    let tx = found.tx();
    let inner = transaction::inner(&tx.envelope);
    vec![
        tx_link(&tx.hash),
        escape(&operation::summary(&inner.operations)),
        page::account_link(&crate::xdr::demux(&inner.source)),
        page::badge(
            tx.succeeded(),
            if tx.succeeded() { "success" } else { "failed" },
        ),
        ledger_link(found.ledger.seq()),
        escape(&time::iso(found.ledger.close_time())),
    ]
}

const TX_HEAD: &[&str] = &[
    "transaction",
    "does",
    "source",
    "result",
    "ledger",
    "closed",
];

/// The newest transactions of which something is true.
fn newest(rpc: &Rpc, wanted: impl Fn(&crate::chain::LandedTx) -> bool) -> Vec<Found> {
    rpc.node.read(|chain| {
        let mut out = Vec::new();
        for ledger in chain.ledgers().rev().take(LEDGERS_SEEN) {
            for index in (0..ledger.txs.len()).rev() {
                if wanted(&ledger.txs[index]) {
                    out.push(Found {
                        ledger: ledger.clone(),
                        index,
                    });
                    if out.len() >= ROWS_MAX {
                        return out;
                    }
                }
            }
        }
        out
    })
}

fn tx_table(found: &[Found]) -> String {
    table(TX_HEAD, &found.iter().map(tx_row).collect::<Vec<_>>())
}

/// Latest ledgers and transactions.
pub fn home(rpc: &Rpc) -> String {
    let txs = newest(rpc, |_| true);
    let ledgers: Vec<_> = rpc
        .node
        .read(|chain| chain.ledgers().rev().take(10).cloned().collect());
    let rows: Vec<Vec<String>> = ledgers.iter().map(|l| ledger_row(l)).collect();
    let body = format!(
        "<h1>Latest transactions</h1>{}<h2>Latest ledgers</h2>{}\
         <p class=soft>JSON-RPC is POSTed to this address; <a href=/admin>/admin</a> explains \
         faults and time.</p>",
        tx_table(&txs),
        table(&["ledger", "closed", "transactions", "hash"], &rows)
    );
    page::page(rpc, "Latest", &body)
}

fn ledger_row(ledger: &ClosedLedger) -> Vec<String> {
    vec![
        ledger_link(ledger.seq()),
        escape(&time::iso(ledger.close_time())),
        ledger.txs.len().to_string(),
        page::code(&hex::encode(ledger.hash.0)),
    ]
}

/// One ledger.
pub fn ledger(rpc: &Rpc, seq: &str) -> Result<String, String> {
    let found = seq
        .parse()
        .ok()
        .and_then(|seq| rpc.node.read(|chain| chain.ledger(seq).cloned()));
    let Some(ledger) = found else {
        return Err(nothing(rpc, seq));
    };
    let header = &ledger.header;
    let before = hex::encode(header.previous_ledger_hash.0);
    let facts = page::facts(&[
        ("hash", page::code(&hex::encode(ledger.hash.0))),
        ("previous", page::code(&before)),
        ("closed", escape(&time::iso(ledger.close_time()))),
        ("fee pool", format!("{} XLM", page::amount(header.fee_pool))),
        ("protocol", header.ledger_version.to_string()),
    ]);
    let txs: Vec<Found> = (0..ledger.txs.len())
        .map(|index| Found {
            ledger: ledger.clone(),
            index,
        })
        .collect();
    let body = format!(
        "<h1>Ledger {}</h1>{facts}<h2>Transactions</h2>{}",
        ledger.seq(),
        tx_table(&txs)
    );
    Ok(page::page(rpc, &format!("Ledger {}", ledger.seq()), &body))
}

/// Where a search leads.
pub fn search(text: &str) -> Option<String> {
    let hash = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let id = text.len() == 56 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match text.chars().next()? {
        _ if hash => Some(format!("/tx/{text}")),
        'G' if id => Some(format!("/account/{text}")),
        'C' if id => Some(format!("/contract/{text}")),
        _ => text.parse::<u32>().ok().map(|seq| format!("/ledger/{seq}")),
    }
}

/// The page for what is not here.
pub fn nothing(rpc: &Rpc, asked: &str) -> String {
    let body = format!(
        "<h1>Not found</h1><p>This ledger knows nothing of {}. It may be older than the retained \
         history, or of another network.</p>",
        page::code(asked)
    );
    page::page(rpc, "Not found", &body)
}
