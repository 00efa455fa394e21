use soroban_sdk::{token::TokenClient, Address};

use super::world::{answer, each_code, World, HELD, TOKEN};

fn not_the_executor(world: &World) -> [&Address; 2] {
    [&world.admin, &world.stranger]
}

#[test]
fn nobody_but_the_executor_pays_or_voids() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        for signer in not_the_executor(&world) {
            assert_eq!(world.pay_as(signer, &order), Err(None));
            assert_eq!(world.void_as(signer, &world.id(2)), Err(None));
        }
        assert_eq!(world.send(&order), Err(None));
        assert_eq!(world.held(), HELD);
        assert_eq!(world.client.get_marker(&world.id(1)), None);
        assert_eq!(world.client.get_marker(&world.id(2)), None);
    });
}

#[test]
fn nobody_but_the_executor_learns_that_an_id_is_used() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        world.pay(&order).unwrap();
        for signer in not_the_executor(&world) {
            assert_eq!(world.pay_as(signer, &order), Err(None));
        }
    });
}

#[test]
fn an_authorization_is_good_for_its_own_arguments_and_once() {
    each_code(|world| {
        let authorized = world.order(1, &[(&world.bob, TOKEN), (&world.alice, TOKEN)]);
        let mut others = [
            world.order(2, &[(&world.bob, TOKEN), (&world.alice, TOKEN)]),
            world.order(1, &[(&world.bob, TOKEN), (&world.alice, TOKEN)]),
            world.order(1, &[(&world.bob, TOKEN), (&world.alice, 2 * TOKEN)]),
            world.order(1, &[(&world.bob, TOKEN), (&world.stranger, TOKEN)]),
            world.order(1, &[(&world.bob, TOKEN)]),
        ];
        others[1].token = world.other.address();
        for other in &others {
            world.authorize_order(&world.executor, &authorized);
            assert_eq!(world.send(other), Err(None), "{other:?}");
        }
        assert_eq!(world.held(), HELD);
        world.authorize_order(&world.executor, &authorized);
        world.send(&authorized).unwrap();
        assert_eq!(world.send(&authorized), Err(None), "the nonce is used up");
    });
}

#[test]
fn nobody_but_the_admin_administers_or_withdraws() {
    each_code(|world| {
        let token = world.usdc.address();
        let before = world.client.get_config();
        let wasm_hash = world.id(7);
        for signer in [&world.executor, &world.stranger] {
            assert_eq!(world.withdraw_as(signer, &world.bob, TOKEN), Err(None));
            world.authorize(signer, "set_token", (&token, TOKEN, TOKEN));
            let set = world.client.try_set_token(&token, &TOKEN, &TOKEN);
            assert_eq!(answer(set), Err(None));
            world.authorize(signer, "remove_token", (&token,));
            let removed = world.client.try_remove_token(&token);
            assert_eq!(answer(removed), Err(None));
            world.authorize(signer, "set_executor", (signer,));
            let named = world.client.try_set_executor(signer);
            assert_eq!(answer(named), Err(None));
            world.authorize(signer, "propose_admin", (signer,));
            let proposed = world.client.try_propose_admin(signer);
            assert_eq!(answer(proposed), Err(None));
            world.authorize(signer, "pause", ());
            assert_eq!(answer(world.client.try_pause()), Err(None));
            world.authorize(signer, "unpause", ());
            assert_eq!(answer(world.client.try_unpause()), Err(None));
            world.authorize(signer, "upgrade", (&wasm_hash,));
            let upgraded = world.client.try_upgrade(&wasm_hash);
            assert_eq!(answer(upgraded), Err(None));
            world.authorize(signer, "migrate", ());
            assert_eq!(answer(world.client.try_migrate()), Err(None));
        }
        assert_eq!(world.client.get_config(), before);
        assert_eq!(world.held(), HELD);
    });
}

#[test]
fn the_contracts_money_moves_by_its_own_calls_only() {
    each_code(|world| {
        let token = TokenClient::new(&world.env, &world.usdc.address());
        for signer in not_the_executor(&world) {
            world.authorize(signer, "transfer", (&world.contract, &world.bob, TOKEN));
            assert!(token
                .try_transfer(&world.contract, &world.bob, &TOKEN)
                .is_err());
        }
        assert_eq!(world.held(), HELD);
    });
}

#[test]
fn nobody_funds_with_the_money_of_another() {
    each_code(|world| {
        world
            .pay(&world.order(1, &[(&world.stranger, 5 * TOKEN)]))
            .unwrap();
        let token = world.usdc.address();
        world.authorize(&world.admin, "fund", (&world.stranger, &token, TOKEN));
        let funded = world.client.try_fund(&world.stranger, &token, &TOKEN);
        assert_eq!(answer(funded), Err(None));
        assert_eq!(world.usdc_of(&world.stranger), 5 * TOKEN);
    });
}
