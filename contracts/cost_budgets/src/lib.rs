//! What each call costs, against what was accepted: for tests only.
//!
//! `contracts/budgets.toml` keeps the figures of every contract, measured on its
//! committed wasm. A call that grows by more than the margin fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use soroban_sdk::Env;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../budgets.toml");
const UPDATE: &str = "HOLDFAST_UPDATE_BUDGETS";
const MARGIN_PERCENT: i64 = 10;
const HEAD: &str =
    "# What each call costs: measured on the wasm of contracts/wasm/ between classic\n\
     # accounts with trustlines, rent not counted.\n\
     # Checked by the tests with a margin of 10 %. To accept other figures:\n\
     #   cd contracts && HOLDFAST_UPDATE_BUDGETS=1 cargo test budgets\n\
     # [ledger...] is what fits on the local ledger, under the public network's limits:\n\
     # tests/settlement/test_payout_limits.py\n";

/// The figures of one call, by name.
pub type Figures = BTreeMap<&'static str, i64>;

/// The meter of the last call.
pub fn spent(env: &Env) -> Figures {
    let spent = env.cost_estimate().resources();
    Figures::from([
        ("instructions", spent.instructions),
        ("memory_bytes", spent.mem_bytes),
        ("disk_read_entries", spent.disk_read_entries.into()),
        ("memory_read_entries", spent.memory_read_entries.into()),
        ("write_entries", spent.write_entries.into()),
        ("disk_read_bytes", spent.disk_read_bytes.into()),
        ("write_bytes", spent.write_bytes.into()),
        ("event_bytes", spent.contract_events_size_bytes.into()),
    ])
}

/// Fails where a figure is above its budget, or has none. With
/// `HOLDFAST_UPDATE_BUDGETS` set, what is measured becomes the budget first.
pub fn keep(contract: &str, measured: &[(&'static str, Figures)]) {
    let mut budgets = committed();
    let named = |call: &str| format!("{contract}.{call}");
    if std::env::var_os(UPDATE).is_some() {
        budgets.retain(|call, _| !call.starts_with(&named("")));
        for (call, figures) in measured {
            let figures = figures
                .iter()
                .map(|(name, figure)| ((*name).into(), *figure));
            budgets.insert(named(call), figures.collect());
        }
        fs::write(FILE, written(&budgets)).unwrap();
    }
    let mut grown = Vec::new();
    for (call, figures) in measured {
        println!("{call}: {figures:?}");
        let call = named(call);
        for (name, figure) in figures {
            match budgets.get(&call).and_then(|budget| budget.get(*name)) {
                None => grown.push(format!("{call} {name}: {figure}, no budget")),
                Some(budget) if figure * 100 > budget * (100 + MARGIN_PERCENT) => {
                    grown.push(format!("{call} {name}: {figure}, budget {budget}"));
                }
                Some(_) => {}
            }
        }
    }
    assert!(
        grown.is_empty(),
        "more than {MARGIN_PERCENT} % above contracts/budgets.toml:\n  {}\n\
         Make it cheaper, or accept it: {UPDATE}=1 cargo test budgets",
        grown.join("\n  ")
    );
}

type Budgets = BTreeMap<String, BTreeMap<String, i64>>;

fn committed() -> Budgets {
    let mut budgets = Budgets::new();
    let mut call = String::new();
    for line in fs::read_to_string(FILE).unwrap_or_default().lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            call = name.into();
        } else if let Some((name, figure)) = line.split_once(" = ") {
            let figures = budgets.entry(call.clone()).or_default();
            figures.insert(name.into(), figure.parse().unwrap());
        }
    }
    budgets
}

fn written(budgets: &Budgets) -> String {
    let mut text = String::from(HEAD);
    for (call, figures) in budgets {
        write!(text, "\n[{call}]\n").unwrap();
        for (name, figure) in figures {
            writeln!(text, "{name} = {figure}").unwrap();
        }
    }
    text
}
