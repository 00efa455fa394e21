use soroban_sdk::{
    contract, contractimpl,
    testutils::{Address as _, Events as _},
    Address, Env, Event, Map,
};

use super::world::{answer, each_code, World, PER_CALL, PER_DAY, TOKEN, WASM};
use crate::{events, storage, Caps, Config};

fn assert_told(world: &World, told: &impl Event) {
    let events = world.env.events().all();
    assert_eq!(
        events.events(),
        [told.to_xdr(&world.env, &world.contract)].as_slice()
    );
}

fn assert_told_nothing(world: &World) {
    assert!(world.env.events().all().events().is_empty());
}

#[test]
fn everything_configured_can_be_read() {
    each_code(|world| {
        let caps = Caps {
            per_call: PER_CALL,
            per_day: PER_DAY,
        };
        assert_eq!(
            world.client.get_config(),
            Config {
                admin: world.admin.clone(),
                executor: world.executor.clone(),
                paused: false,
                pending_admin: None,
                schema: 1,
                tokens: Map::from_array(&world.env, [(world.usdc.address(), caps)]),
            }
        );
        assert_eq!(world.client.version(), 1);
        assert_eq!(world.client.get_token(&world.other.address()), None);
    });
}

#[contract]
struct SixDecimals;

#[contractimpl]
impl SixDecimals {
    pub fn decimals(_env: Env) -> u32 {
        6
    }
}

#[test]
fn a_token_is_checked_when_it_is_allowed() {
    each_code(|world| {
        let token = world.other.address();
        for (per_call, per_day) in [(0, 1), (-1, 1), (2, 1), (1, 0)] {
            let refused = world.set_token(&token, per_call, per_day);
            assert_eq!(refused, Err(Some(310)), "{per_call} {per_day}");
        }
        let six = world.env.register(SixDecimals, ());
        assert_eq!(world.set_token(&six, 1, 1), Err(Some(308)));
        assert_eq!(world.set_token(&world.bob, 1, 1), Err(None));
        assert_eq!(world.client.get_config().tokens.len(), 1);
        world.set_token(&token, 1, 1).unwrap();
        assert_told(
            &world,
            &events::TokenSet {
                token: token.clone(),
                per_call: 1,
                per_day: 1,
            },
        );
        world.authorize(&world.admin, "remove_token", (&token,));
        world.client.remove_token(&token);
        assert_told(
            &world,
            &events::TokenRemoved {
                token: token.clone(),
            },
        );
        world.authorize(&world.admin, "remove_token", (&token,));
        world.client.remove_token(&token);
        assert_told_nothing(&world);
    });
}

#[test]
fn no_more_tokens_are_allowed_than_each_call_can_bear_to_read() {
    each_code(|world| {
        let issuer = Address::generate(&world.env);
        for _ in 1..storage::MAX_TOKENS {
            let token = world.env.register_stellar_asset_contract_v2(issuer.clone());
            world.set_token(&token.address(), 1, 1).unwrap();
        }
        let refused = world.set_token(&world.other.address(), 1, 1);
        assert_eq!(refused, Err(Some(311)));
        let again = world.set_token(&world.usdc.address(), 1, 1);
        assert_eq!(again, Ok(()), "one that is there changes its caps");
    });
}

#[test]
fn another_executor_takes_over_whole() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        world.pay(&order).unwrap();
        world.authorize(&world.admin, "set_executor", (&world.stranger,));
        world.client.set_executor(&world.stranger);
        assert_told(
            &world,
            &events::ExecutorChanged {
                before: world.executor.clone(),
                after: world.stranger.clone(),
            },
        );
        assert_eq!(world.pay(&order), Err(None));
        assert!(world.pay_as(&world.stranger, &order).unwrap().replayed);
        let next = world.order(2, &[(&world.bob, TOKEN)]);
        assert!(!world.pay_as(&world.stranger, &next).unwrap().replayed);
    });
}

#[test]
fn the_admin_hands_over_in_two_steps() {
    each_code(|world| {
        let accept = |signer: &Address| {
            world.authorize(signer, "accept_admin", ());
            answer(world.client.try_accept_admin())
        };
        assert_eq!(accept(&world.stranger), Err(Some(302)));
        world.authorize(&world.admin, "propose_admin", (&world.stranger,));
        world.client.propose_admin(&world.stranger);
        assert_told(
            &world,
            &events::AdminProposed {
                admin: world.admin.clone(),
                proposed: world.stranger.clone(),
            },
        );
        assert_eq!(accept(&world.executor), Err(None));
        assert_eq!(world.pause(), Ok(()), "the admin is still the admin");
        accept(&world.stranger).unwrap();
        assert_told(
            &world,
            &events::AdminAccepted {
                before: world.admin.clone(),
                admin: world.stranger.clone(),
            },
        );
        assert_eq!(world.unpause(), Err(None));
        assert_eq!(world.client.get_config().pending_admin, None);
        assert_eq!(accept(&world.stranger), Err(Some(302)));
    });
}

#[test]
fn pausing_twice_changes_nothing() {
    each_code(|world| {
        world.pause().unwrap();
        assert_told(
            &world,
            &events::Paused {
                admin: world.admin.clone(),
            },
        );
        world.pause().unwrap();
        assert_told_nothing(&world);
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        assert_eq!(world.pay(&order), Err(Some(301)));
        assert_eq!(world.void(&world.id(9)), Ok(()), "voids go on");
        world.unpause().unwrap();
        assert_told(
            &world,
            &events::Unpaused {
                admin: world.admin.clone(),
            },
        );
        world.unpause().unwrap();
        assert_told_nothing(&world);
        world.pay(&order).unwrap();
    });
}

#[test]
fn an_upgrade_keeps_state_and_markers() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        world.pay(&order).unwrap();
        let before = world.client.get_config();
        let wasm_hash = world.env.deployer().upload_contract_wasm(WASM);
        world.authorize(&world.admin, "upgrade", (&wasm_hash,));
        world.client.upgrade(&wasm_hash);
        let told = world.env.events().all().filter_by_contract(&world.contract);
        let upgraded = events::Upgraded {
            wasm_hash,
            schema: storage::SCHEMA,
        };
        assert!(told
            .events()
            .contains(&upgraded.to_xdr(&world.env, &world.contract)));
        assert_eq!(world.client.get_config(), before);
        assert!(world.pay(&order).unwrap().replayed);
    });
}

#[test]
fn state_of_another_schema_pays_nothing_until_it_is_migrated() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        let schema = |schema| {
            world.env.as_contract(&world.contract, || {
                storage::set_schema(&world.env, schema);
            });
        };
        let migrate = || {
            world.authorize(&world.admin, "migrate", ());
            answer(world.client.try_migrate())
        };
        schema(0);
        assert_eq!(world.pay(&order), Err(Some(303)));
        migrate().unwrap();
        assert_told(
            &world,
            &events::Migrated {
                before: 0,
                after: 1,
            },
        );
        world.pay(&order).unwrap();
        migrate().unwrap();
        assert_told_nothing(&world);
        schema(2);
        assert_eq!(migrate(), Err(Some(303)));
        let next = world.order(2, &[(&world.bob, TOKEN)]);
        assert_eq!(world.pay(&next), Err(Some(303)));
    });
}
