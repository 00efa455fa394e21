//! The pages of an account and of a contract.

use stellar_xdr::{
    AccountEntry, AccountId, ContractExecutable, ContractId, Hash, HostFunction, LedgerEntryData,
    LedgerEntryExt, LedgerKey, OperationBody, ScAddress, ScContractInstance, ScVal, TrustLineAsset,
    TrustLineFlags,
};

use super::operation::scval;
use super::page::{account_link, amount, badge, code, escape, facts, page, table, tx_link};
use super::transaction::{events_by, inner, touches};
use super::{newest, nothing, tx_table};
use crate::account;
use crate::chain::{LandedTx, View};
use crate::rpc::Rpc;
use crate::xdr;

/// Rows of contract storage that a page shows.
const STORAGE_MAX: usize = 200;

fn line_text(asset: &TrustLineAsset) -> String {
    match asset {
        TrustLineAsset::Native => "XLM".into(),
        TrustLineAsset::CreditAlphanum4(a) => {
            format!("{}:{}", xdr::code_text(&a.asset_code.0), a.issuer)
        }
        TrustLineAsset::CreditAlphanum12(a) => {
            format!("{}:{}", xdr::code_text(&a.asset_code.0), a.issuer)
        }
        TrustLineAsset::PoolShare(_) => "pool share".into(),
    }
}

fn sponsor_cell(ext: &LedgerEntryExt) -> String {
    match ext {
        LedgerEntryExt::V1(e) => e
            .sponsoring_id
            .0
            .as_ref()
            .map(account_link)
            .unwrap_or_default(),
        LedgerEntryExt::V0 => String::new(),
    }
}

/// Balances and data of an account, found among all entries.
fn holdings(
    view: &View,
    id: &AccountId,
    entry: &AccountEntry,
) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let mut balances = vec![vec![
        "XLM".to_owned(),
        amount(entry.balance),
        format!(
            "{} may be spent",
            amount(account::available_balance(entry).max(0))
        ),
        String::new(),
    ]];
    let mut data = Vec::new();
    let mut owned: Vec<_> = view
        .state
        .iter()
        .filter(|(key, _)| match key {
            LedgerKey::Trustline(k) => k.account_id == *id,
            LedgerKey::Data(k) => k.account_id == *id,
            _ => false,
        })
        .collect();
    owned.sort_by(|a, b| a.0.cmp(b.0));
    for (_, stored) in owned {
        let sponsor = sponsor_cell(&stored.entry.ext);
        match &stored.entry.data {
            LedgerEntryData::Trustline(line) => {
                let authorized = line.flags & TrustLineFlags::AuthorizedFlag as u32 != 0;
                let note = if authorized { "" } else { "not authorized" };
                balances.push(vec![
                    code(&line_text(&line.asset)),
                    amount(line.balance),
                    format!("limit {} {note}", amount(line.limit)),
                    sponsor,
                ]);
            }
            LedgerEntryData::Data(entry) => data.push(vec![
                code(&entry.data_name.0.to_string()),
                code(&String::from_utf8_lossy(&entry.data_value)),
                sponsor,
            ]),
            _ => {}
        }
    }
    (balances, data)
}

fn involves(tx: &LandedTx, id: &AccountId) -> bool {
    let parts = inner(&tx.envelope);
    let fee_source = match &tx.envelope {
        stellar_xdr::TransactionEnvelope::TxFeeBump(e) => Some(xdr::demux(&e.tx.fee_source)),
        _ => None,
    };
    let address = ScVal::Address(ScAddress::Account(id.clone()));
    xdr::demux(&parts.source) == *id
        || fee_source.as_ref() == Some(id)
        || parts.operations.iter().any(|op| {
            let source = op.source_account.as_ref().map(xdr::demux);
            let target = match &op.body {
                OperationBody::Payment(p) => Some(xdr::demux(&p.destination)),
                OperationBody::CreateAccount(c) => Some(c.destination.clone()),
                OperationBody::AccountMerge(to) => Some(xdr::demux(to)),
                OperationBody::BeginSponsoringFutureReserves(b) => Some(b.sponsored_id.clone()),
                _ => None,
            };
            let named = match &op.body {
                OperationBody::InvokeHostFunction(i) => match &i.host_function {
                    HostFunction::InvokeContract(args) => args.args.contains(&address),
                    _ => false,
                },
                _ => false,
            };
            source.as_ref() == Some(id) || target.as_ref() == Some(id) || named
        })
}

/// One account.
pub fn account(rpc: &Rpc, text: &str) -> Result<String, String> {
    let Ok(key) = stellar_strkey::ed25519::PublicKey::from_string(text) else {
        return Err(nothing(rpc, text));
    };
    let id = xdr::account_id(key.0);
    let view = rpc.node.view();
    let txs = newest(rpc, |tx| involves(tx, &id));
    let Some(entry) = view.state.account(&id) else {
        if txs.is_empty() {
            return Err(nothing(rpc, text));
        }
        let body = format!(
            "<h1>Account</h1><p>{}</p><p>{}</p><h2>Transactions</h2>{}",
            code(text),
            badge(false, "does not exist"),
            tx_table(&txs)
        );
        return Ok(page(rpc, "Account", &body));
    };
    let (balances, data) = holdings(&view, &id, entry);
    let weights = entry.thresholds.0;
    let (ledger, _) = account::seq_age(entry);
    let signers: Vec<Vec<String>> = account::all_signers(entry)
        .iter()
        .map(|s| vec![code(&s.key.to_string()), s.weight.to_string()])
        .collect();
    let own = view.state.get(&xdr::account_key(&id));
    let rows = [
        (
            "sequence",
            format!("{} (consumed in ledger {ledger})", entry.seq_num.0),
        ),
        (
            "thresholds",
            format!(
                "low {}, medium {}, high {}",
                weights[1], weights[2], weights[3]
            ),
        ),
        ("flags", entry.flags.to_string()),
        ("home domain", escape(&entry.home_domain.0.to_string())),
        (
            "reserve",
            format!(
                "{} XLM for {} subentries; pays for {} of others, others pay for {}",
                amount(account::min_balance(entry)),
                entry.num_sub_entries,
                account::num_sponsoring(entry),
                account::num_sponsored(entry)
            ),
        ),
        (
            "sponsored by",
            own.map_or(String::new(), |s| sponsor_cell(&s.entry.ext)),
        ),
    ];
    let body = format!(
        "<h1>Account</h1><p>{}</p><h2>Balances</h2>{}{}<h2>Signers</h2>{}<h2>Data</h2>{}\
         <h2>Transactions</h2>{}",
        code(text),
        table(&["asset", "balance", "", "sponsor"], &balances),
        facts(&rows),
        table(&["key", "weight"], &signers),
        table(&["name", "value", "sponsor"], &data),
        tx_table(&txs)
    );
    Ok(page(rpc, "Account", &body))
}

fn calls(tx: &LandedTx, id: &ContractId) -> bool {
    let called = inner(&tx.envelope)
        .operations
        .iter()
        .any(|op| match &op.body {
            OperationBody::InvokeHostFunction(i) => match &i.host_function {
                HostFunction::InvokeContract(args) => {
                    args.contract_address == ScAddress::Contract(id.clone())
                }
                _ => false,
            },
            _ => false,
        });
    called || touches(&tx.meta, id)
}

fn life(live_until: Option<u32>, latest: u32) -> String {
    match live_until {
        Some(until) if until < latest => badge(false, &format!("archived since {until}")),
        Some(until) => format!("until ledger {until}"),
        None => String::new(),
    }
}

fn executable(instance: &ScContractInstance) -> String {
    match &instance.executable {
        ContractExecutable::Wasm(hash) => code(&hex::encode(hash.0)),
        ContractExecutable::StellarAsset => "Stellar Asset Contract".into(),
        other => escape(&format!("{other:?}")),
    }
}

/// One contract.
pub fn contract(rpc: &Rpc, text: &str) -> Result<String, String> {
    let Ok(key) = stellar_strkey::Contract::from_string(text) else {
        return Err(nothing(rpc, text));
    };
    let id = ContractId(Hash(key.0));
    let view = rpc.node.view();
    let latest = view.latest.seq();
    let stored = view.state.get(&xdr::instance_key(&id)).cloned();
    let instance = stored.as_ref().and_then(|s| match &s.entry.data {
        LedgerEntryData::ContractData(d) => match &d.val {
            ScVal::ContractInstance(i) => Some(i),
            _ => None,
        },
        _ => None,
    });
    let txs = newest(rpc, |tx| calls(tx, &id));
    if instance.is_none() && txs.is_empty() {
        return Err(nothing(rpc, text));
    }
    let mut body = format!("<h1>Contract</h1><p>{}</p>", code(text));
    if let (Some(instance), Some(stored)) = (instance, &stored) {
        body.push_str(&facts(&[
            ("runs", executable(instance)),
            ("lives", life(stored.live_until, latest)),
        ]));
        let rows: Vec<Vec<String>> = instance
            .storage
            .iter()
            .flat_map(|m| m.iter())
            .map(|e| vec![scval(&e.key), scval(&e.val)])
            .collect();
        body.push_str(&format!(
            "<h2>Instance storage</h2>{}",
            table(&["key", "value"], &rows)
        ));
    }
    body.push_str(&storage(&view, &id));
    let events: Vec<Vec<String>> = txs
        .iter()
        .flat_map(|f| {
            events_by(&f.tx().meta, &id).into_iter().map(|mut row| {
                row.insert(0, tx_link(&f.tx().hash));
                row
            })
        })
        .collect();
    body.push_str(&format!(
        "<h2>Recent events</h2>{}<h2>Recent transactions</h2>{}",
        table(&["transaction", "topics", "data"], &events),
        tx_table(&txs)
    ));
    Ok(page(rpc, "Contract", &body))
}

fn storage(view: &View, id: &ContractId) -> String {
    let owner = ScAddress::Contract(id.clone());
    let mut entries: Vec<_> = view
        .state
        .iter()
        .filter_map(|(_, stored)| match &stored.entry.data {
            LedgerEntryData::ContractData(d)
                if d.contract == owner && d.key != ScVal::LedgerKeyContractInstance =>
            {
                Some((d, stored.live_until))
            }
            _ => None,
        })
        .collect();
    entries.sort_by(|a, b| a.0.key.cmp(&b.0.key));
    let rows: Vec<Vec<String>> = entries
        .iter()
        .take(STORAGE_MAX)
        .map(|(d, live_until)| {
            vec![
                scval(&d.key),
                scval(&d.val),
                escape(d.durability.name()),
                life(*live_until, view.latest.seq()),
            ]
        })
        .collect();
    format!(
        "<h2>Storage ({} entries)</h2>{}",
        entries.len(),
        table(&["key", "value", "durability", "lives"], &rows)
    )
}
