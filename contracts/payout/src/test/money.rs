//! Money into the contract, and out of it by its admin.

use soroban_sdk::{
    testutils::{Events as _, MockAuth, MockAuthInvoke},
    token::TokenClient,
    Address, Event, IntoVal,
};

use super::world::{answer, each_code, Answer, World, HELD, TOKEN};
use crate::events;

/// `from` authorizes the funding, and the token's transfer beneath it.
fn fund(world: &World, from: &Address, token: &Address, amount: i128) -> Answer<()> {
    let transfer = MockAuthInvoke {
        contract: token,
        fn_name: "transfer",
        args: (from, &world.contract, amount).into_val(&world.env),
        sub_invokes: &[],
    };
    world.env.mock_auths(&[MockAuth {
        address: from,
        invoke: &MockAuthInvoke {
            contract: &world.contract,
            fn_name: "fund",
            args: (from, token, amount).into_val(&world.env),
            sub_invokes: &[transfer],
        },
    }]);
    answer(world.client.try_fund(from, token, &amount))
}

#[test]
fn anybody_funds_with_money_of_their_own() {
    each_code(|world| {
        let token = world.usdc.address();
        world
            .pay(&world.order(1, &[(&world.stranger, 5 * TOKEN)]))
            .unwrap();
        fund(&world, &world.stranger, &token, 2 * TOKEN).unwrap();
        let told = world.env.events().all().filter_by_contract(&world.contract);
        let funded = events::Funded {
            from: world.stranger.clone(),
            token: token.clone(),
            amount: 2 * TOKEN,
        };
        assert_eq!(
            told.events(),
            [funded.to_xdr(&world.env, &world.contract)].as_slice()
        );
        assert_eq!(world.held(), HELD - 3 * TOKEN);
        world.pause().unwrap();
        fund(&world, &world.stranger, &token, TOKEN).unwrap();
        assert_eq!(world.held(), HELD - 2 * TOKEN);
        assert_eq!(world.moved_today(), 5 * TOKEN, "what comes in is no payout");
        let more = fund(&world, &world.stranger, &token, 3 * TOKEN);
        assert_eq!(more, Err(Some(10)), "the token's own word");
    });
}

#[test]
fn what_could_never_be_paid_out_is_not_taken() {
    each_code(|world| {
        let other = world.other.address();
        assert_eq!(fund(&world, &world.stranger, &other, TOKEN), Err(Some(404)));
        let usdc = world.usdc.address();
        assert_eq!(fund(&world, &world.stranger, &usdc, 0), Err(Some(403)));
        assert_eq!(fund(&world, &world.stranger, &usdc, -1), Err(Some(403)));
    });
}

#[test]
fn the_admin_withdraws_also_while_paused_and_outside_of_the_caps() {
    each_code(|world| {
        world.pause().unwrap();
        world.withdraw_as(&world.admin, &world.bob, HELD).unwrap();
        let told = world.env.events().all().filter_by_contract(&world.contract);
        let withdrawn = events::Withdrawn {
            to: world.bob.clone(),
            token: world.usdc.address(),
            amount: HELD,
        };
        assert_eq!(
            told.events(),
            [withdrawn.to_xdr(&world.env, &world.contract)].as_slice()
        );
        assert_eq!(world.usdc_of(&world.bob), HELD);
        assert_eq!(world.moved_today(), 0);
    });
}

#[test]
fn withdrawing_is_refused_by_number() {
    each_code(|world| {
        let admin = &world.admin;
        for (number, to, amount) in [
            (403, &world.bob, 0),
            (403, &world.bob, -1),
            (407, &world.bob, HELD + 1),
            (13, &world.carol, TOKEN),
        ] {
            assert_eq!(world.withdraw_as(admin, to, amount), Err(Some(number)));
        }
        assert_eq!(world.held(), HELD);
    });
}

#[test]
fn money_of_a_token_that_is_not_allowed_can_be_taken_out() {
    each_code(|world| {
        let token = world.other.address();
        let arguments = (&token, &world.stranger, HELD);
        world.authorize(&world.admin, "withdraw", arguments);
        world.client.withdraw(&token, &world.stranger, &HELD);
        let client = TokenClient::new(&world.env, &token);
        assert_eq!(client.balance(&world.stranger), HELD);
    });
}
