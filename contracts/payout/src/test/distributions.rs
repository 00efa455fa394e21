use soroban_sdk::{
    testutils::{
        storage::{Instance as _, Persistent as _},
        Events as _, Ledger as _, MuxedAddress as _,
    },
    Bytes, Event, MuxedAddress,
};

use super::world::{each_code, Order, World, HELD, PER_CALL, PER_DAY, TOKEN};
use crate::{events, Caps, DataKey, Distribution, MarkerKey, Settled, TokenState, MAX_RECIPIENTS};

const DAY_SECONDS: u64 = 86_400;

fn paid(world: &World, amount: i128, outcomes: &[u8]) -> Distribution {
    Distribution {
        amount,
        from: world.contract.clone(),
        outcomes: Bytes::from_slice(&world.env, outcomes),
        replayed: false,
        token: world.usdc.address(),
    }
}

#[test]
fn a_list_is_paid_out_of_the_contracts_balance() {
    each_code(|world| {
        let order = world.order(1, &[(&world.alice, 3 * TOKEN), (&world.bob, 4 * TOKEN)]);
        assert_eq!(world.pay(&order), Ok(paid(&world, 7 * TOKEN, &[0, 0])));
        assert_eq!(world.usdc_of(&world.alice), 3 * TOKEN);
        assert_eq!(world.usdc_of(&world.bob), 4 * TOKEN);
        assert_eq!(world.held(), HELD - 7 * TOKEN);
        assert_eq!(world.moved_today(), 7 * TOKEN);
    });
}

#[test]
fn a_call_tells_one_event_beside_the_tokens() {
    each_code(|world| {
        let order = world.order(1, &[(&world.carol, TOKEN), (&world.bob, 4 * TOKEN)]);
        world.pay(&order).unwrap();
        let told = world.env.events().all().filter_by_contract(&world.contract);
        let expected = events::Distributed {
            id: order.id.clone(),
            token: order.token.clone(),
            amount: 4 * TOKEN,
            outcomes: Bytes::from_slice(&world.env, &[13, 0]),
        };
        assert_eq!(
            told.events(),
            [expected.to_xdr(&world.env, &world.contract)].as_slice()
        );

        world.pay(&order).unwrap();
        let replayed = events::Replayed {
            id: order.id.clone(),
            settled_ledger: world.env.ledger().sequence(),
        };
        assert_eq!(
            world.env.events().all().events(),
            [replayed.to_xdr(&world.env, &world.contract)].as_slice(),
            "and the token nothing"
        );
    });
}

#[test]
fn the_same_list_again_answers_the_first_outcome_and_moves_nothing() {
    each_code(|world| {
        let order = world.order(1, &[(&world.nobody, TOKEN), (&world.bob, 4 * TOKEN)]);
        let first = world.pay(&order).unwrap();
        let again = world.pay(&order).unwrap();
        assert_eq!(
            again,
            Distribution {
                replayed: true,
                ..first
            }
        );
        assert_eq!(world.held(), HELD - 4 * TOKEN);
        assert_eq!(world.moved_today(), 4 * TOKEN);
        let Settled(outcomes, amount) = world
            .client
            .get_marker(&order.id)
            .unwrap()
            .read_outcome(&world.env);
        assert_eq!((outcomes, amount), (again.outcomes, again.amount));
    });
}

#[test]
fn the_replay_answers_while_paused_and_for_a_token_that_is_allowed_no_more() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, 4 * TOKEN)]);
        world.pay(&order).unwrap();
        world.pause().unwrap();
        assert!(world.pay(&order).unwrap().replayed);
        world.authorize(&world.admin, "remove_token", (&order.token,));
        world.client.remove_token(&order.token);
        assert!(world.pay(&order).unwrap().replayed);
        let fresh = world.order(2, &[(&world.bob, 4 * TOKEN)]);
        assert_eq!(world.pay(&fresh), Err(Some(301)));
        world.unpause().unwrap();
        assert_eq!(world.pay(&fresh), Err(Some(404)));
    });
}

#[test]
fn an_id_is_good_for_its_own_arguments_only() {
    each_code(|world| {
        let first = world.order(1, &[(&world.alice, 3 * TOKEN), (&world.bob, 4 * TOKEN)]);
        world.pay(&first).unwrap();
        let muxed: MuxedAddress = MuxedAddress::new(&world.alice, 7);
        let mut others = [
            world.order(1, &[(&world.bob, 4 * TOKEN), (&world.alice, 3 * TOKEN)]),
            world.order(1, &[(&world.alice, 3 * TOKEN)]),
            world.order(1, &[(&world.alice, 3 * TOKEN), (&world.bob, 4 * TOKEN + 1)]),
            world.order(1, &[(&world.alice, 3 * TOKEN), (&world.bob, 4 * TOKEN)]),
            world.order(1, &[(&world.alice, 3 * TOKEN), (&world.bob, 4 * TOKEN)]),
        ];
        others[3].token = world.other.address();
        others[4].recipients.set(0, (muxed, 3 * TOKEN));
        for other in &others {
            assert_eq!(world.pay(other), Err(Some(101)), "{other:?}");
        }
        assert_eq!(world.held(), HELD - 7 * TOKEN);
    });
}

#[test]
fn the_only_recipient_fails_the_call_by_the_tokens_number_and_the_id_stays_good() {
    each_code(|world| {
        for (recipient, number) in [
            (&world.nobody, 13),
            (&world.carol, 13),
            (&world.frozen, 11),
            (&world.contract, 409),
        ] {
            let order = world.order(1, &[(recipient, TOKEN)]);
            assert_eq!(world.pay(&order), Err(Some(number)), "{recipient:?}");
            assert_eq!(world.client.get_marker(&order.id), None);
        }
        assert_eq!(world.held(), HELD);
        assert_eq!(world.moved_today(), 0);
        assert!(world.pay(&world.order(1, &[(&world.bob, TOKEN)])).is_ok());
    });
}

#[test]
fn who_cannot_be_paid_is_told_and_the_rest_are_paid() {
    each_code(|world| {
        let order = world.order(
            1,
            &[
                (&world.nobody, TOKEN),
                (&world.alice, 2 * TOKEN),
                (&world.carol, 4 * TOKEN),
                (&world.frozen, 8 * TOKEN),
                (&world.contract, 16 * TOKEN),
                (&world.bob, 32 * TOKEN),
            ],
        );
        let expected = paid(&world, 34 * TOKEN, &[13, 0, 13, 11, 255, 0]);
        assert_eq!(world.pay(&order), Ok(expected));
        assert_eq!(world.usdc_of(&world.alice), 2 * TOKEN);
        assert_eq!(world.usdc_of(&world.bob), 32 * TOKEN);
        assert_eq!(world.held(), HELD - 34 * TOKEN);
        assert_eq!(world.moved_today(), 34 * TOKEN);
    });
}

#[test]
fn a_list_of_which_nobody_can_be_paid_is_settled_with_nothing() {
    each_code(|world| {
        let order = world.order(1, &[(&world.nobody, TOKEN), (&world.carol, TOKEN)]);
        assert_eq!(world.pay(&order), Ok(paid(&world, 0, &[13, 13])));
        assert!(world.pay(&order).unwrap().replayed);
        assert_eq!(world.held(), HELD);
    });
}

#[test]
fn a_full_trustline_is_told() {
    each_code(|world| {
        world.env.mock_all_auths();
        let mint = soroban_sdk::token::StellarAssetClient::new(&world.env, &world.usdc.address());
        mint.mint(&world.bob, &(i128::from(i64::MAX) - TOKEN));
        world.env.set_auths(&[]);
        let single = world.order(1, &[(&world.bob, 2 * TOKEN)]);
        assert_eq!(world.pay(&single), Err(Some(10)));
        let list = world.order(2, &[(&world.bob, 2 * TOKEN), (&world.alice, TOKEN)]);
        assert_eq!(world.pay(&list), Ok(paid(&world, TOKEN, &[10, 0])));
    });
}

#[test]
fn a_recipient_may_appear_twice_and_have_a_number_of_its_own() {
    each_code(|world| {
        let mut order = world.order(1, &[(&world.bob, TOKEN), (&world.bob, TOKEN)]);
        order
            .recipients
            .push_back((MuxedAddress::new(&world.bob, 9), TOKEN));
        assert_eq!(world.pay(&order), Ok(paid(&world, 3 * TOKEN, &[0, 0, 0])));
        assert_eq!(world.usdc_of(&world.bob), 3 * TOKEN);
    });
}

fn long(world: &World, count: u32, amount: i128) -> Order {
    let mut order = world.order(1, &[]);
    for _ in 0..count {
        order.recipients.push_back(((&world.bob).into(), amount));
    }
    order
}

#[test]
fn the_lists_rules_are_told_by_number_before_anything_moves() {
    each_code(|world| {
        world.env.cost_estimate().budget().reset_unlimited();
        let bob = &world.bob;
        let mut not_allowed = world.order(1, &[(bob, TOKEN)]);
        not_allowed.token = world.other.address();
        for (number, order) in [
            (401, world.order(1, &[])),
            (402, long(&world, MAX_RECIPIENTS + 1, 1)),
            (403, world.order(1, &[(bob, 0)])),
            (403, world.order(1, &[(bob, TOKEN), (bob, -1)])),
            (404, not_allowed),
            (405, world.order(1, &[(bob, PER_CALL), (bob, 1)])),
            (405, world.order(1, &[(bob, i128::MAX), (bob, i128::MAX)])),
        ] {
            assert_eq!(world.pay(&order), Err(Some(number)));
            assert_eq!(world.client.get_marker(&order.id), None);
        }
        assert_eq!(world.held(), HELD);
        // the events of so many are above the network's limit
        world.env.cost_estimate().disable_resource_limits();
        let longest = long(&world, MAX_RECIPIENTS, 1);
        let longest = world.pay(&longest).unwrap();
        assert_eq!(longest.amount, i128::from(MAX_RECIPIENTS));
    });
}

#[test]
fn the_days_cap_counts_what_moved_and_begins_anew_at_midnight() {
    each_code(|world| {
        // the last second of a day
        world
            .env
            .ledger()
            .set_timestamp(20_000 * DAY_SECONDS + DAY_SECONDS - 1);
        let full = |number| world.order(number, &[(&world.bob, PER_CALL)]);
        world.pay(&full(1)).unwrap();
        world.pay(&full(2)).unwrap();
        // half of this one does not move, and is not counted
        let half = PER_CALL / 4;
        let list = world.order(3, &[(&world.carol, half), (&world.alice, half)]);
        world.pay(&list).unwrap();
        let left = PER_DAY - 2 * PER_CALL - half;
        assert_eq!(world.moved_today(), PER_DAY - left);
        let above = world.order(4, &[(&world.bob, left + 1)]);
        assert_eq!(world.pay(&above), Err(Some(406)));
        world.pay(&world.order(4, &[(&world.bob, left)])).unwrap();
        assert_eq!(world.moved_today(), PER_DAY);
        assert_eq!(
            world.pay(&world.order(5, &[(&world.bob, 1)])),
            Err(Some(406))
        );

        world.env.ledger().set_timestamp(20_001 * DAY_SECONDS);
        assert_eq!(world.moved_today(), 0);
        world.pay(&world.order(5, &[(&world.bob, 1)])).unwrap();
        assert_eq!(world.moved_today(), 1);
    });
}

#[test]
fn other_caps_hold_at_once_and_what_has_moved_keeps_counting() {
    each_code(|world| {
        let token = world.usdc.address();
        world
            .pay(&world.order(1, &[(&world.bob, 2 * TOKEN)]))
            .unwrap();
        world.set_token(&token, TOKEN, 3 * TOKEN).unwrap();
        assert_eq!(
            world.client.get_config().tokens.get(token.clone()),
            Some(Caps {
                per_call: TOKEN,
                per_day: 3 * TOKEN
            })
        );
        let two = world.order(2, &[(&world.bob, 2 * TOKEN)]);
        assert_eq!(world.pay(&two), Err(Some(405)));
        world.pay(&world.order(2, &[(&world.bob, TOKEN)])).unwrap();
        let more = world.order(3, &[(&world.bob, 1)]);
        assert_eq!(world.pay(&more), Err(Some(406)));
        assert_eq!(
            world.client.get_token(&token),
            Some(TokenState {
                balance: HELD - 3 * TOKEN,
                moved_today: 3 * TOKEN,
                per_call: TOKEN,
                per_day: 3 * TOKEN,
            })
        );
    });
}

#[test]
fn more_than_is_there_is_refused_before_anybody_is_paid() {
    each_code(|world| {
        let token = world.usdc.address();
        world.set_token(&token, 2 * HELD, 2 * HELD).unwrap();
        let above = world.order(1, &[(&world.alice, 1), (&world.bob, HELD)]);
        assert_eq!(world.pay(&above), Err(Some(407)));
        assert_eq!(world.held(), HELD);
        world.pay(&world.order(1, &[(&world.bob, HELD)])).unwrap();
        assert_eq!(world.held(), 0);
    });
}

#[test]
fn a_voided_id_never_pays_and_a_paid_one_is_not_voided() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        world.void(&order.id).unwrap();
        world.void(&order.id).unwrap();
        assert_eq!(world.pay(&order), Err(Some(102)));
        let paid = world.order(2, &[(&world.bob, TOKEN)]);
        world.pay(&paid).unwrap();
        assert_eq!(world.void(&paid.id), Err(Some(103)));
        assert_eq!(world.held(), HELD - TOKEN);
    });
}

#[test]
fn a_distribution_keeps_marker_state_and_the_days_sum_alive() {
    each_code(|world| {
        let order = world.order(1, &[(&world.bob, TOKEN)]);
        world.pay(&order).unwrap();
        let max = world.env.storage().max_ttl();
        world.env.as_contract(&world.contract, || {
            let storage = world.env.storage();
            let marker = MarkerKey::Marker(order.id.clone());
            assert_eq!(storage.persistent().get_ttl(&marker), max);
            let moved = DataKey::Moved(order.token.clone());
            assert_eq!(storage.persistent().get_ttl(&moved), 61 * 17_280);
            assert!(storage.instance().get_ttl() >= 60 * 17_280);
        });
    });
}
