//! What each call costs, measured on the committed wasm between classic accounts
//! with trustlines, as on a network.

use cost_budgets::Figures;
use soroban_sdk::{
    testutils::Address as _,
    xdr::{
        AccountEntry, AccountEntryExt, AccountId, LedgerEntry, LedgerEntryData, LedgerEntryExt,
        LedgerKey, LedgerKeyAccount, PublicKey, ScAddress, SequenceNumber, Thresholds, Uint256,
        VecM,
    },
    Address, Env, TryFromVal,
};
use std::{rc::Rc, vec::Vec};

use super::world::{new_env, Code, Order, World, WASM};
use crate::Severity;

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
    let spent = cost_budgets::spent(&world.env);
    world.env.set_auths(&[]);
    spent
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

#[test]
fn budgets_are_kept() {
    cost_budgets::keep("sla_calculator", &measure_all());
}
