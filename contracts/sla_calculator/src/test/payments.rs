use soroban_sdk::{
    testutils::{
        storage::Persistent as _, Address as _, Deployer as _, Events as _, IssuerFlags,
        Ledger as _,
    },
    token::{StellarAssetClient, TokenClient},
    xdr::{self, Limits, ScSymbol, ScVal, ScVec, WriteXdr},
    Address, Bytes, Env, Error, Event, IntoVal, InvokeError, String, Symbol, TryFromVal, Val,
};

use super::world::{each_code, World, ALLOWANCE, OPERATOR_USDC, POOL_REWARDS};
use crate::{
    events, payment, sla::TOKEN, Marker, MarkerKey, PaymentKind, PaymentResult, Rating, Severity,
    SlaError, SlaResult,
};

/// The contract told exactly this, in the last call.
fn assert_told(world: &World, told: &impl Event) {
    let events = world.env.events().all().filter_by_contract(&world.contract);
    assert_eq!(
        events.events(),
        [told.to_xdr(&world.env, &world.contract)].as_slice()
    );
}

#[test]
fn critical_25_minutes_draws_1000_usdc_from_the_operator() {
    each_code(|world| {
        let order = world.order(1, Severity::Critical, 25);
        world.authorize_order(&world.executor, &order);
        let paid = world.send(&order).unwrap();
        assert_told(
            &world,
            &events::PenaltyDrawn {
                id: world.id(1),
                outage_id: order.outage_id.clone(),
                amount: 1_000 * TOKEN,
                from: world.operator.clone(),
                mttr_minutes: 25,
                severity: Severity::Critical,
                to: world.executor.clone(),
                token: world.usdc.address(),
            },
        );
        assert_eq!(
            paid,
            PaymentResult {
                amount: 1_000 * TOKEN,
                from: world.operator.clone(),
                id: world.id(1),
                kind: PaymentKind::Penalty,
                replayed: false,
                sla: SlaResult {
                    amount: 1_000 * TOKEN,
                    kind: PaymentKind::Penalty,
                    mttr_minutes: 25,
                    outage_id: order.outage_id,
                    rating: Rating::Violated,
                    severity: Severity::Critical,
                    threshold_minutes: 15,
                    violated: true,
                },
                to: world.executor.clone(),
                token: world.usdc.address(),
            }
        );
        assert_eq!(
            world.usdc_of(&world.operator),
            OPERATOR_USDC - 1_000 * TOKEN
        );
        assert_eq!(world.usdc_of(&world.executor), 1_000 * TOKEN);
        assert_eq!(world.allowance(), ALLOWANCE - 1_000 * TOKEN);
        assert_eq!(world.nociq_of(&world.executor), POOL_REWARDS);
    });
}

#[test]
fn high_10_minutes_pays_1500_reward_tokens_from_the_pool() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        world.authorize_order(&world.executor, &order);
        let paid = world.send(&order).unwrap();
        assert_told(
            &world,
            &events::RewardPaid {
                id: world.id(1),
                outage_id: order.outage_id,
                amount: 1_500 * TOKEN,
                from: world.executor.clone(),
                mttr_minutes: 10,
                rating: Rating::Exceptional,
                severity: Severity::High,
                to: world.noc_team.clone(),
                token: world.nociq.address(),
            },
        );
        assert_eq!(paid.amount, 1_500 * TOKEN);
        assert_eq!(paid.kind, PaymentKind::Reward);
        assert_eq!(paid.sla.rating, Rating::Exceptional);
        assert_eq!(
            (paid.from, paid.to, paid.token),
            (
                world.executor.clone(),
                world.noc_team.clone(),
                world.nociq.address()
            )
        );
        assert_eq!(world.nociq_of(&world.noc_team), 1_500 * TOKEN);
        assert_eq!(
            world.nociq_of(&world.executor),
            POOL_REWARDS - 1_500 * TOKEN
        );
        assert_eq!(world.usdc_of(&world.operator), OPERATOR_USDC);
        assert_eq!(world.allowance(), ALLOWANCE);
    });
}

#[test]
fn the_same_call_again_answers_the_first_outcome_and_moves_nothing() {
    each_code(|world| {
        for (number, severity, mttr) in [(1, Severity::Critical, 25), (2, Severity::High, 10)] {
            let order = world.order(number, severity, mttr);
            let first = world.pay(&order).unwrap();
            let settled_ledger = world.env.ledger().sequence();
            let before = world.balances();
            world.env.ledger().with_mut(|ledger| {
                ledger.sequence_number += 1_000;
            });
            // Without the transfer beneath: a replay needs no right to pay.
            world.authorize(
                &world.executor,
                "execute_payment",
                order.arguments(&world.env),
            );
            let again = world.send(&order).unwrap();
            assert_told(
                &world,
                &events::Replayed {
                    id: order.id.clone(),
                    outage_id: order.outage_id.clone(),
                    settled_ledger,
                },
            );
            assert_eq!(
                again,
                PaymentResult {
                    replayed: true,
                    ..first
                }
            );
            assert_eq!(world.balances(), before);
        }
    });
}

#[test]
fn a_replay_outlives_pause_other_terms_another_executor_and_an_empty_pool() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        let first = world.pay(&order).unwrap();
        world.pause().unwrap();
        world.authorize(
            &world.admin,
            "update_config",
            (Severity::High, 5_u32, 7_i128, 9_i128),
        );
        world.client.update_config(&Severity::High, &5, &7, &9);
        world.authorize(&world.admin, "set_executor", (&world.stranger,));
        world.client.set_executor(&world.stranger);
        let before = world.balances();
        world.authorize(
            &world.stranger,
            "execute_payment",
            order.arguments(&world.env),
        );
        let again = world.send(&order).unwrap();
        assert_eq!(
            again,
            PaymentResult {
                replayed: true,
                ..first
            }
        );
        assert_eq!(world.balances(), before);
    });
}

#[test]
fn the_same_id_with_any_other_argument_is_refused() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        world.pay(&order).unwrap();
        let before = world.balances();
        let mut others = [(); 6].map(|()| order.clone());
        others[0].outage_id = Symbol::new(&world.env, "OUT002");
        others[1].severity = Severity::Medium;
        others[2].mttr_minutes = 11;
        others[3].operator = world.stranger.clone();
        others[4].noc_team = world.stranger.clone();
        others[5].rca_hash = Some(world.id(9));
        for other in others {
            assert_eq!(world.pay(&other), Err(Some(101)), "{other:?}");
        }
        assert_eq!(world.balances(), before);
    });
}

#[test]
fn a_voided_id_never_pays_and_a_paid_one_cannot_be_voided() {
    each_code(|world| {
        world.void(&world.id(1)).unwrap();
        assert_told(&world, &events::Voided { id: world.id(1) });
        world.void(&world.id(1)).unwrap();
        let events = world.env.events().all();
        assert!(events.events().is_empty(), "voiding again tells nothing");
        assert_eq!(
            world.client.get_marker(&world.id(1)),
            Some(Marker {
                args_hash: None,
                ledger: world.env.ledger().sequence(),
                outcome: None,
                voided: true,
            })
        );
        let before = world.balances();
        for (severity, mttr) in [(Severity::Critical, 25), (Severity::High, 10)] {
            assert_eq!(world.pay(&world.order(1, severity, mttr)), Err(Some(102)));
        }
        assert_eq!(world.balances(), before);

        world.pay(&world.order(2, Severity::High, 10)).unwrap();
        assert_eq!(world.void(&world.id(2)), Err(Some(103)));
        world.pause().unwrap();
        world.void(&world.id(3)).unwrap();
    });
}

#[test]
fn paused_pays_nothing_and_leaves_the_id_unused() {
    each_code(|world| {
        world.pause().unwrap();
        let order = world.order(1, Severity::Critical, 25);
        assert_eq!(world.pay(&order), Err(Some(301)));
        assert_eq!(world.client.get_marker(&order.id), None);
        world.unpause().unwrap();
        assert!(!world.pay(&order).unwrap().replayed);
    });
}

#[test]
fn too_small_or_ended_an_allowance_is_refused_and_may_be_mended() {
    each_code(|world| {
        let order = world.order(1, Severity::Critical, 25);
        let before = world.balances();
        let later = world.env.ledger().sequence() + 1_000;
        world.approve(1_000 * TOKEN - 1, later);
        assert_eq!(world.pay(&order), Err(Some(201)));
        world.approve(1_000 * TOKEN, later);
        world.env.ledger().with_mut(|ledger| {
            ledger.sequence_number = later + 1;
        });
        assert_eq!(world.pay(&order), Err(Some(201)));
        assert_eq!(world.client.get_marker(&order.id), None);
        assert_eq!(world.balances(), before);
        world.approve(1_000 * TOKEN, later + 1_000);
        assert!(!world.pay(&order).unwrap().replayed);
        assert_eq!(world.allowance(), 0);
    });
}

#[test]
fn too_small_a_balance_is_refused_and_says_whose() {
    each_code(|world| {
        let until = world.env.ledger().sequence() + 1_000;
        world.approve(i128::from(i64::MAX), until);
        // (15 + 501 - 15) x 100 = 50,100 of the operator's 50,000
        let penalty = world.order(1, Severity::Critical, 516);
        assert_eq!(world.pay(&penalty), Err(Some(202)));

        world.env.mock_all_auths();
        TokenClient::new(&world.env, &world.nociq.address()).transfer(
            &world.executor,
            &world.stranger,
            &(POOL_REWARDS - 1_500 * TOKEN + 1),
        );
        let reward = world.order(2, Severity::High, 10);
        assert_eq!(world.pay(&reward), Err(Some(203)));
        assert_eq!(world.client.get_marker(&reward.id), None);
    });
}

#[test]
fn the_greatest_penalty_is_refused_and_does_not_wrap() {
    each_code(|world| {
        let order = world.order(1, Severity::Critical, u32::MAX);
        assert_eq!(world.pay(&order), Err(Some(201)));
        world.authorize(
            &world.admin,
            "update_config",
            (
                Severity::Critical,
                1_u32,
                crate::sla::PENALTY_PER_MINUTE_MAX,
                0_i128,
            ),
        );
        world.client.update_config(
            &Severity::Critical,
            &1,
            &crate::sla::PENALTY_PER_MINUTE_MAX,
            &0,
        );
        assert_eq!(
            world
                .client
                .calculate_sla(&order.outage_id, &Severity::Critical, &u32::MAX)
                .amount,
            (i128::from(u32::MAX) - 1) * crate::sla::PENALTY_PER_MINUTE_MAX
        );
    });
}

#[test]
fn a_missing_trustline_and_a_frozen_balance_are_named() {
    each_code(|world| {
        let account = String::from_str(
            &world.env,
            "GA5ZSEJYB37JRC5AVCIA5MOP4RHTM335X2KGX3IHOJAPP5RE34K4KZVN",
        );
        let mut order = world.order(1, Severity::High, 10);
        order.noc_team = Address::from_string(&account);
        assert_eq!(world.pay(&order), Err(Some(205)));
        assert_eq!(world.client.get_marker(&order.id), None);

        let order = world.order(2, Severity::Critical, 25);
        world.nociq.issuer().set_flag(IssuerFlags::RevocableFlag);
        world.usdc.issuer().set_flag(IssuerFlags::RevocableFlag);
        world.env.mock_all_auths();
        StellarAssetClient::new(&world.env, &world.usdc.address())
            .set_authorized(&world.operator, &false);
        StellarAssetClient::new(&world.env, &world.nociq.address())
            .set_authorized(&world.executor, &false);
        assert_eq!(world.pay(&order), Err(Some(206)));
        assert_eq!(
            world.pay(&world.order(3, Severity::High, 10)),
            Err(Some(206))
        );
    });
}

#[test]
fn a_payment_to_its_payer_is_refused() {
    each_code(|world| {
        let mut penalty = world.order(1, Severity::Critical, 25);
        penalty.operator = world.executor.clone();
        assert_eq!(world.pay(&penalty), Err(Some(208)));
        let mut reward = world.order(2, Severity::High, 10);
        reward.noc_team = world.executor.clone();
        assert_eq!(world.pay(&reward), Err(Some(208)));
    });
}

#[test]
fn an_amount_of_zero_settles_without_calling_the_token() {
    each_code(|world| {
        world.authorize(
            &world.admin,
            "update_config",
            (Severity::Low, 120_u32, 0_i128, 0_i128),
        );
        world.client.update_config(&Severity::Low, &120, &0, &0);
        let before = world.balances();
        for (number, mttr) in [(1, 121), (2, 120)] {
            let mut order = world.order(number, Severity::Low, mttr);
            order.operator = Address::generate(&world.env);
            order.noc_team = Address::generate(&world.env);
            world.authorize(
                &world.executor,
                "execute_payment",
                order.arguments(&world.env),
            );
            assert_eq!(world.send(&order).unwrap().amount, 0);
            assert!(world.pay(&order).unwrap().replayed);
        }
        assert_eq!(world.balances(), before);
    });
}

#[test]
fn a_payment_anchors_its_report() {
    each_code(|world| {
        let mut order = world.order(1, Severity::Critical, 25);
        order.rca_hash = Some(world.id(7));
        world.pay(&order).unwrap();
        let anchored = world.client.get_rca(&order.outage_id).unwrap();
        assert_eq!((anchored.hash, anchored.version), (world.id(7), 1));
        assert!(world.pay(&order).unwrap().replayed);
        assert_eq!(world.client.get_rca_history(&order.outage_id).len(), 1);
    });
}

/// Programs outside compute this key and hash by themselves: they must not move.
#[test]
fn the_marker_lies_where_programs_outside_look_for_it() {
    each_code(|world| {
        let order = world.order(1, Severity::Critical, 25);
        let paid = world.pay(&order).unwrap();
        let marker = world.client.get_marker(&order.id).unwrap();

        let symbol = |text: &str| ScVal::Symbol(ScSymbol(text.try_into().unwrap()));
        let bytes = |number: u8| ScVal::Bytes(xdr::ScBytes([number; 32].try_into().unwrap()));
        let sequence =
            |items: std::vec::Vec<ScVal>| ScVal::Vec(Some(ScVec(items.try_into().unwrap())));

        let key = sequence([symbol("Marker"), bytes(1)].into());
        assert_eq!(
            key,
            ScVal::try_from_val(
                &world.env,
                &IntoVal::<Env, Val>::into_val(&MarkerKey::Marker(world.id(1)), &world.env)
            )
            .unwrap()
        );
        let stored: Marker = world.env.as_contract(&world.contract, || {
            let key = Val::try_from_val(&world.env, &key).unwrap();
            world.env.storage().persistent().get(&key).unwrap()
        });
        assert_eq!(stored, marker);

        let address = |address: &Address| ScVal::Address(address.into());
        let hashed = sequence(
            [
                symbol("execute_payment"),
                symbol("OUT001"),
                ScVal::U32(0),
                ScVal::U32(25),
                address(&world.operator),
                address(&world.noc_team),
                ScVal::Void,
            ]
            .into(),
        );
        let preimage = Bytes::from_slice(&world.env, &hashed.to_xdr(Limits::none()).unwrap());
        assert_eq!(
            marker.args_hash,
            Some(world.env.crypto().sha256(&preimage).to_bytes())
        );
        assert_eq!(marker.ledger, world.env.ledger().sequence());
        assert!(!marker.voided);
        let outcome = ScVal::try_from_val(&world.env, &marker.outcome.unwrap().to_val()).unwrap();
        let (high, low) = (0, 10_000_000_000);
        assert_eq!(
            outcome,
            sequence(
                [
                    ScVal::I128(xdr::Int128Parts { hi: high, lo: low }),
                    ScVal::U32(0),
                    address(&paid.to),
                    ScVal::U32(3),
                    ScVal::U32(15),
                ]
                .into()
            )
        );
    });
}

#[test]
fn markers_reports_and_the_contract_are_kept_alive() {
    each_code(|world| {
        let mut order = world.order(1, Severity::High, 10);
        order.rca_hash = Some(world.id(7));
        let day = 17_280;
        world.pay(&order).unwrap();
        world.void(&world.id(2)).unwrap();
        let max = world.env.storage().max_ttl();
        let ttl_of = |key: &Val| {
            world.env.as_contract(&world.contract, || {
                world.env.storage().persistent().get_ttl(key)
            })
        };
        for number in [1, 2] {
            let key = MarkerKey::Marker(world.id(number)).into_val(&world.env);
            assert_eq!(ttl_of(&key), max);
        }
        let report = crate::DataKey::Rca(order.outage_id.clone()).into_val(&world.env);
        assert_eq!(ttl_of(&report), max);
        let instance_ttl = || {
            world
                .env
                .deployer()
                .get_contract_instance_ttl(&world.contract)
        };
        assert_eq!(instance_ttl(), max, "a new contract begins with all of it");

        // A replay much later renews them; the instance a day at a time.
        let later = max - 50 * day;
        world.env.ledger().with_mut(|ledger| {
            ledger.sequence_number += later;
        });
        let key = MarkerKey::Marker(world.id(1)).into_val(&world.env);
        assert_eq!(ttl_of(&key), max - later);
        assert!(world.pay(&order).unwrap().replayed);
        assert_eq!(ttl_of(&key), max);
        assert_eq!(instance_ttl(), 61 * day);
    });
}

#[test]
fn every_refusal_of_the_token_has_a_number_of_ours() {
    let refused = |number: u32| {
        payment::translate(
            Err(Ok(Error::from_contract_error(number))),
            SlaError::PoolTooSmall,
        )
    };
    for (number, error) in [
        (6, SlaError::RecipientNoAccount),
        (8, SlaError::TokenRefused),
        (9, SlaError::AllowanceTooSmall),
        (10, SlaError::PoolTooSmall),
        (11, SlaError::BalanceFrozen),
        (13, SlaError::RecipientNoTrustline),
    ] {
        assert_eq!(refused(number), Err(error));
    }
    let host_error =
        Error::from_type_and_code(xdr::ScErrorType::Auth, xdr::ScErrorCode::InvalidAction);
    for answer in [Err(Ok(host_error)), Err(Err(InvokeError::Abort))] {
        assert_eq!(
            payment::translate(answer, SlaError::PoolTooSmall),
            Err(SlaError::TokenRefused)
        );
    }
    assert_eq!(
        payment::translate(Ok(Ok(())), SlaError::PoolTooSmall),
        Ok(())
    );
}
