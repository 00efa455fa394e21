//! The frame of a page, and links. Everything that is not markup is escaped.

use stellar_xdr::{AccountId, ScAddress};

use crate::rpc::Rpc;

const STYLE: &str = include_str!("style.css");

/// Escapes text for HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A whole page. `body` is markup.
pub(super) fn page(rpc: &Rpc, title: &str, body: &str) -> String {
    let title = escape(title);
    let network = escape(&rpc.options.passphrase);
    let seq = rpc.node.view().latest.seq();
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{title} · local ledger</title><style>{STYLE}</style></head><body>\
         <header><div><b><a href=/>Local ledger</a></b><span>{network}</span>\
         <span>ledger <a href=/ledger/{seq}>{seq}</a></span>\
         <form action=/search><input name=q placeholder=\"hash, G…, C… or ledger\" \
         aria-label=Search></form></div></header><main>{body}</main></body></html>"
    )
}

/// Rows of a name and a value in markup.
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<tr><th>{}</th><td>{value}</td></tr>", escape(name)))
        .collect();
    format!("<div class=card><table class=facts>{rows}</table></div>")
}

/// A table with a head; cells are markup.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return "<p class=soft>none</p>".into();
    }
    let head: String = head
        .iter()
        .map(|h| format!("<th>{}</th>", escape(h)))
        .collect();
    let body: String = rows
        .iter()
        .map(|cells| {
            let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
            format!("<tr>{cells}</tr>")
        })
        .collect();
    format!("<div class=card><table><tr>{head}</tr>{body}</table></div>")
}

/// Fixed-width text.
pub(super) fn code(text: &str) -> String {
    format!("<code>{}</code>", escape(text))
}

/// A short form of a long id, whole in its title.
fn short(text: &str) -> String {
    if text.len() <= 16 {
        return escape(text);
    }
    format!("{}…{}", escape(&text[..6]), escape(&text[text.len() - 6..]))
}

fn link(path: &str, text: &str, whole: bool) -> String {
    let shown = if whole { escape(text) } else { short(text) };
    let whole = escape(text);
    format!("<a href=\"{path}/{whole}\" title=\"{whole}\"><code>{shown}</code></a>")
}

/// Link to a transaction.
pub(super) fn tx_link(hash: &[u8; 32]) -> String {
    link("/tx", &hex::encode(hash), false)
}

/// Link to an account.
pub(super) fn account_link(id: &AccountId) -> String {
    link("/account", &id.to_string(), false)
}

/// Link to a ledger.
pub(super) fn ledger_link(seq: u32) -> String {
    format!("<a href=/ledger/{seq}>{seq}</a>")
}

/// Link to whatever an address names.
pub(super) fn address_link(address: &ScAddress) -> String {
    let text = address.to_string();
    match address {
        ScAddress::Account(_) => link("/account", &text, false),
        ScAddress::Contract(_) => link("/contract", &text, false),
        _ => code(&text),
    }
}

/// Link to a contract by its id.
pub(super) fn contract_link(id: &str) -> String {
    link("/contract", id, false)
}

/// Stroops as units with seven decimals, trailing zeros dropped.
pub(super) fn amount(stroops: i64) -> String {
    let sign = if stroops < 0 { "-" } else { "" };
    let units = stroops.unsigned_abs();
    let text = format!("{sign}{}.{:07}", units / 10_000_000, units % 10_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether something succeeded, as a badge.
pub(super) fn badge(good: bool, text: &str) -> String {
    let class = if good { "good" } else { "bad" };
    format!("<span class={class}>{}</span>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::{amount, escape};

    #[test]
    fn markup_in_values_is_shown_not_run() {
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn amounts_keep_every_stroop() {
        assert_eq!(amount(12_345_678), "1.2345678");
        assert_eq!(amount(10_000_000), "1");
        assert_eq!(amount(-5), "-0.0000005");
    }
}
