//! What each call costs, measured on the committed wasm between classic accounts
//! with trustlines, as on a network; and how many recipients one call can carry
//! under the public network's limits.

use cost_budgets::Figures;
use soroban_sdk::{testutils::Address as _, token::StellarAssetClient, Address};
use std::vec::Vec;

use super::world::{account, new_env, Code, Order, World, TOKEN, WASM};
use crate::MAX_RECIPIENTS;

/// A world whose executor is the transaction's source: it authorizes by its
/// signature, and no nonce is written.
fn new_world() -> World {
    let env = new_env();
    let (executor_id, executor) = account(&env, 62_000);
    env.host().set_source_account(executor_id).unwrap();
    World::with_executor(Code::Wasm, env, executor)
}

/// A list of so many accounts, each with a trustline.
fn list(world: &World, number: u8, count: u32) -> Order {
    world.env.mock_all_auths();
    let trust = StellarAssetClient::new(&world.env, &world.usdc.address());
    let mut order = world.order(number, &[]);
    for recipient in 0..count {
        let (_, address) = account(&world.env, u16::try_from(recipient).unwrap());
        trust.trust(&address);
        order.recipients.push_back((address.into(), TOKEN));
    }
    world.env.set_auths(&[]);
    order
}

fn measure(world: &World, call: impl FnOnce(&World)) -> Figures {
    world.env.mock_all_auths();
    call(world);
    let spent = cost_budgets::spent(&world.env);
    world.env.set_auths(&[]);
    spent
}

fn measure_list(count: u32) -> Figures {
    let world = new_world();
    world.env.cost_estimate().budget().reset_unlimited();
    world.env.cost_estimate().disable_resource_limits();
    let order = list(&world, 1, count);
    measure(&world, |world| {
        world.send(&order).unwrap();
    })
}

/// What one transaction may spend on the public network, July 2026.
const LIMITS: [(&str, i64); 7] = [
    ("instructions", 400_000_000),
    ("memory_bytes", 41_943_040),
    ("disk_read_entries", 200),
    ("write_entries", 200),
    ("disk_read_bytes", 200_000),
    ("write_bytes", 132_096),
    ("event_bytes", 16_384),
];

/// The limits that a call of these figures would break.
fn broken(spent: &Figures) -> Vec<&'static str> {
    let broken = LIMITS.iter().filter(|(name, limit)| spent[name] > *limit);
    broken.map(|(name, _)| *name).collect()
}

/// The longest list that breaks no limit, by halving.
fn longest() -> u32 {
    let (mut fits, mut breaks) = (1, MAX_RECIPIENTS);
    while breaks - fits > 1 {
        let middle = (fits + breaks) / 2;
        if broken(&measure_list(middle)).is_empty() {
            fits = middle;
        } else {
            breaks = middle;
        }
    }
    fits
}

#[test]
fn the_events_bind_first() {
    let fits = longest();
    assert_eq!(broken(&measure_list(fits + 1)), ["event_bytes"]);
    assert!((65..75).contains(&fits), "{fits} recipients in one call");
}

#[test]
fn budgets_are_kept() {
    let world = new_world();
    let order = list(&world, 2, 2);
    let others = world.order(3, &[(&world.bob, TOKEN), (&world.carol, TOKEN)]);
    let donor = Address::generate(&world.env);
    world.env.mock_all_auths();
    let mint = StellarAssetClient::new(&world.env, &world.usdc.address());
    mint.mint(&donor, &TOKEN);
    let token = world.usdc.address();
    let measured = [
        ("distribute_to_1", measure_list(1)),
        ("distribute_to_10", measure_list(10)),
        ("distribute_to_60", measure_list(60)),
        (
            "distribute_to_2_of_whom_1_cannot_be_paid",
            measure(&world, |world| {
                world.send(&others).unwrap();
            }),
        ),
        ("distribute_replay", {
            measure(&world, |world| {
                world.send(&order).unwrap();
            });
            measure(&world, |world| {
                world.send(&order).unwrap();
            })
        }),
        (
            "void",
            measure(&world, |world| world.client.void(&world.id(4))),
        ),
        (
            "fund",
            measure(&world, |world| world.client.fund(&donor, &token, &1)),
        ),
        (
            "withdraw",
            measure(&world, |world| {
                world.client.withdraw(&token, &world.bob, &1)
            }),
        ),
        (
            "get_token",
            measure(&world, |world| {
                world.client.get_token(&token);
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
    ];
    cost_budgets::keep("payout", &measured);
}
