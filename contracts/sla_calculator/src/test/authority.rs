use soroban_sdk::{Address, BytesN, Symbol};

use super::world::{answer, each_code, World};
use crate::{sla, Bands, Severity};

fn strangers(world: &World) -> [&Address; 4] {
    [
        &world.admin,
        &world.operator,
        &world.noc_team,
        &world.stranger,
    ]
}

#[test]
fn nobody_but_the_executor_pays_voids_or_anchors() {
    each_code(|world| {
        let before = world.balances();
        let penalty = world.order(1, Severity::Critical, 25);
        let reward = world.order(2, Severity::High, 10);
        let outage_id = Symbol::new(&world.env, "OUT001");
        for signer in strangers(&world) {
            assert_eq!(world.pay_as(signer, &penalty), Err(None));
            assert_eq!(world.pay_as(signer, &reward), Err(None));
            assert_eq!(world.void_as(signer, &world.id(3)), Err(None));
            world.authorize(signer, "record_rca", (&outage_id, &world.id(4)));
            let anchored = world.client.try_record_rca(&outage_id, &world.id(4));
            assert_eq!(answer(anchored), Err(None));
        }
        world.env.set_auths(&[]);
        assert_eq!(world.send(&penalty), Err(None));
        assert_eq!(world.balances(), before);
        for number in 1..=3 {
            assert_eq!(world.client.get_marker(&world.id(number)), None);
        }
        assert_eq!(world.client.get_rca(&outage_id), None);
    });
}

#[test]
fn nobody_but_the_executor_learns_from_a_payment_that_an_id_is_used() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        world.pay(&order).unwrap();
        for signer in strangers(&world) {
            assert_eq!(world.pay_as(signer, &order), Err(None));
        }
    });
}

#[test]
fn an_authorization_is_good_for_its_own_arguments_only() {
    each_code(|world| {
        let authorized = world.order(1, Severity::Critical, 25);
        let before = world.balances();
        let mut others = [(); 7].map(|()| authorized.clone());
        others[0].id = world.id(2);
        others[1].outage_id = Symbol::new(&world.env, "OUT002");
        others[2].severity = Severity::High;
        others[3].mttr_minutes = 26;
        others[4].operator = world.stranger.clone();
        others[5].noc_team = world.stranger.clone();
        others[6].rca_hash = Some(world.id(9));
        for other in others {
            world.authorize_order(&world.executor, &authorized);
            assert_eq!(world.send(&other), Err(None), "{other:?}");
        }
        assert_eq!(world.balances(), before);
    });
}

#[test]
fn an_authorization_pays_once() {
    each_code(|world| {
        let first = world.order(1, Severity::Critical, 25);
        world.authorize_order(&world.executor, &first);
        world.send(&first).unwrap();
        assert_eq!(world.send(&first), Err(None), "the nonce is used up");
    });
}

#[test]
fn a_reward_needs_the_right_to_transfer_beneath_it() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        world.authorize(
            &world.executor,
            "execute_payment",
            order.arguments(&world.env),
        );
        let before = world.balances();
        assert_eq!(world.send(&order), Err(Some(207)));
        assert_eq!(world.balances(), before);
        assert_eq!(world.client.get_marker(&order.id), None);
    });
}

#[test]
fn nobody_but_the_admin_administers() {
    each_code(|world| {
        let before = world.client.get_config();
        let bands: Bands = sla::initial_bands();
        let hash = BytesN::from_array(&world.env, &[1; 32]);
        for signer in [
            &world.executor,
            &world.operator,
            &world.noc_team,
            &world.stranger,
        ] {
            let client = &world.client;
            world.authorize(
                signer,
                "update_config",
                (Severity::Low, 1_u32, 1_i128, 1_i128),
            );
            let refused = client.try_update_config(&Severity::Low, &1, &1, &1);
            assert_eq!(answer(refused), Err(None));
            world.authorize(signer, "update_bands", (&bands,));
            assert_eq!(answer(client.try_update_bands(&bands)), Err(None));
            world.authorize(signer, "set_executor", (signer,));
            assert_eq!(answer(client.try_set_executor(signer)), Err(None));
            world.authorize(signer, "propose_admin", (signer,));
            assert_eq!(answer(client.try_propose_admin(signer)), Err(None));
            world.authorize(signer, "pause", ());
            assert_eq!(answer(client.try_pause()), Err(None));
            world.authorize(signer, "unpause", ());
            assert_eq!(answer(client.try_unpause()), Err(None));
            world.authorize(signer, "upgrade", (&hash,));
            assert_eq!(answer(client.try_upgrade(&hash)), Err(None));
            world.authorize(signer, "migrate", ());
            assert_eq!(answer(client.try_migrate()), Err(None));
        }
        assert_eq!(world.client.get_config(), before);
    });
}

#[test]
fn nobody_constructs_it_twice() {
    each_code(|world| {
        let before = world.client.get_config();
        let arguments = (
            &world.stranger,
            &world.stranger,
            world.usdc.address(),
            world.nociq.address(),
        );
        world.authorize(&world.stranger, "__constructor", arguments.clone());
        let refused = world.env.try_invoke_contract::<(), soroban_sdk::Error>(
            &world.contract,
            &Symbol::new(&world.env, "__constructor"),
            soroban_sdk::IntoVal::into_val(&arguments, &world.env),
        );
        assert!(refused.is_err());
        assert_eq!(world.client.get_config(), before);
    });
}
