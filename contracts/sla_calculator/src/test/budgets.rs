//! What each call costs, measured on the committed wasm between classic accounts
//! with trustlines, as on a network. `contracts/budgets.toml` keeps the figures;
//! a call that grows by more than the margin fails here.

use soroban_sdk::{
    testutils::Address as _,
    xdr::{
        AccountEntry, AccountEntryExt, AccountId, LedgerEntry, LedgerEntryData, LedgerEntryExt,
        LedgerKey, LedgerKeyAccount, PublicKey, ScAddress, SequenceNumber, Thresholds, Uint256,
        VecM,
    },
    Address, Env, TryFromVal,
};
use std::{collections::BTreeMap, format, fs, println, rc::Rc, string::String, vec::Vec};

use super::world::{new_env, Code, Order, World, WASM};
use crate::Severity;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../budgets.toml");
const UPDATE: &str = "HOLDFAST_UPDATE_BUDGETS";
const MARGIN_PERCENT: i64 = 10;

type Figures = BTreeMap<&'static str, i64>;

fn account(env: &Env, number: u8) -> (AccountId, Address) {
    let id = AccountId(PublicKey::PublicKeyTypeEd25519(Uint256([number; 32])));
    let key = Rc::new(LedgerKey::Account(LedgerKeyAccount {
        account_id: id.clone(),
    }));
    let entry = Rc::new(LedgerEntry {
        last_modified_ledger_seq: 0,
        data: LedgerEntryData::Account(AccountEntry {
            account_id: id.clone(),
            balance: 1_000_000_000,
            seq_num: SequenceNumber(0),
            num_sub_entries: 0,
            inflation_dest: None,
            flags: 0,
            home_domain: Default::default(),
            thresholds: Thresholds([1; 4]),
            signers: VecM::default(),
            ext: AccountEntryExt::V0,
        }),
        ext: LedgerEntryExt::V0,
    });
    env.host().add_ledger_entry(&key, &entry, None).unwrap();
    let address = Address::try_from_val(env, &ScAddress::Account(id.clone())).unwrap();
    (id, address)
}

/// Runs one call as the executor's transaction and reads its meter.
fn measure(world: &World, call: impl FnOnce(&World)) -> Figures {
    world.env.mock_all_auths();
    call(world);
    let spent = world.env.cost_estimate().resources();
    world.env.set_auths(&[]);
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

fn measure_all() -> Vec<(&'static str, Figures)> {
    let env = new_env();
    let (executor_id, executor) = account(&env, 1);
    let (_, operator) = account(&env, 2);
    let (_, noc_team) = account(&env, 3);
    let admin = Address::generate(&env);
    let stranger = Address::generate(&env);
    // The transaction's source authorizes by its signature: no nonce is written.
    env.host().set_source_account(executor_id).unwrap();
    let world = World::with_parties(
        Code::Wasm,
        env,
        admin,
        executor,
        operator,
        noc_team,
        stranger,
    );
    let pay = |order: &Order| {
        let order = order.clone();
        move |world: &World| {
            world.send(&order).unwrap();
        }
    };
    let penalty = world.order(1, Severity::Critical, 25);
    let reward = world.order(2, Severity::High, 10);
    let with_report = Order {
        rca_hash: Some(world.id(99)),
        ..world.order(3, Severity::High, 10)
    };
    Vec::from([
        ("execute_payment_penalty", measure(&world, pay(&penalty))),
        ("execute_payment_reward", measure(&world, pay(&reward))),
        (
            "execute_payment_reward_with_rca",
            measure(&world, pay(&with_report)),
        ),
        ("execute_payment_replay", measure(&world, pay(&reward))),
        (
            "void",
            measure(&world, |world| world.client.void(&world.id(4))),
        ),
        (
            "record_rca_second_version",
            measure(&world, |world| {
                world
                    .client
                    .record_rca(&with_report.outage_id, &world.id(98));
            }),
        ),
        (
            "calculate_sla",
            measure(&world, |world| {
                world
                    .client
                    .calculate_sla(&reward.outage_id, &Severity::High, &10);
            }),
        ),
        (
            "get_config",
            measure(&world, |world| {
                world.client.get_config();
            }),
        ),
        (
            "wasm",
            Figures::from([("bytes", i64::try_from(WASM.len()).unwrap())]),
        ),
    ])
}

fn written(measured: &[(&'static str, Figures)]) -> String {
    let mut text = String::from(
        "# What each call costs: measured on contracts/wasm/sla_calculator.wasm between\n\
         # classic accounts with trustlines, rent not counted.\n\
         # Checked by the tests with a margin of 10 %. To accept other figures:\n\
         #   cd contracts && HOLDFAST_UPDATE_BUDGETS=1 cargo test budgets\n",
    );
    for (call, figures) in measured {
        text += &format!("\n[{call}]\n");
        for (name, figure) in figures {
            text += &format!("{name} = {figure}\n");
        }
    }
    text
}

fn committed() -> BTreeMap<(String, String), i64> {
    let text = fs::read_to_string(FILE).unwrap_or_default();
    let mut call = String::new();
    let mut budgets = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            call = name.into();
        } else if let Some((name, figure)) = line.split_once(" = ") {
            budgets.insert((call.clone(), name.into()), figure.parse().unwrap());
        }
    }
    budgets
}

#[test]
fn budgets_are_kept() {
    let measured = measure_all();
    if std::env::var_os(UPDATE).is_some() {
        fs::write(FILE, written(&measured)).unwrap();
    }
    let budgets = committed();
    let mut grown = Vec::new();
    for (call, figures) in &measured {
        println!("{call}: {figures:?}");
        for (name, figure) in figures {
            let Some(budget) = budgets.get(&((*call).into(), (*name).into())) else {
                grown.push(format!("{call}.{name}: {figure}, no budget"));
                continue;
            };
            if figure * 100 > budget * (100 + MARGIN_PERCENT) {
                grown.push(format!("{call}.{name}: {figure}, budget {budget}"));
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
