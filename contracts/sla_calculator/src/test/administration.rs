use soroban_sdk::{
    contract, contractimpl, testutils::Address as _, testutils::Events as _, Address, Env, Event,
};

use super::world::{answer, each_code, new_env, Answer, World, WASM};
use crate::{
    events,
    sla::{BASE_REWARD_MAX, PENALTY_PER_MINUTE_MAX, THRESHOLD_MINUTES_MAX, TOKEN},
    storage, Bands, Config, Severity, SlaCalculator, Terms,
};

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

fn update(world: &World, severity: Severity, terms: &Terms) -> Answer<()> {
    let (threshold, penalty, reward) = (
        terms.threshold_minutes,
        terms.penalty_per_minute,
        terms.base_reward,
    );
    world.authorize(
        &world.admin,
        "update_config",
        (severity, threshold, penalty, reward),
    );
    answer(
        world
            .client
            .try_update_config(&severity, &threshold, &penalty, &reward),
    )
}

fn update_bands(world: &World, bands: &Bands) -> Answer<()> {
    world.authorize(&world.admin, "update_bands", (bands,));
    answer(world.client.try_update_bands(bands))
}

#[test]
fn a_new_contract_has_the_terms_of_the_guide() {
    each_code(|world| {
        let terms = |threshold_minutes, penalty, reward| Terms {
            base_reward: reward * TOKEN,
            penalty_per_minute: penalty * TOKEN,
            threshold_minutes,
        };
        assert_eq!(
            world.client.get_config(),
            Config {
                admin: world.admin.clone(),
                bands: Bands {
                    excellent_below_percent: 75,
                    excellent_reward_percent: 150,
                    exceptional_below_percent: 50,
                    exceptional_reward_percent: 200,
                    good_reward_percent: 100,
                },
                critical: terms(15, 100, 750),
                executor: world.executor.clone(),
                high: terms(30, 50, 750),
                low: terms(120, 10, 600),
                medium: terms(60, 25, 750),
                paused: false,
                pending_admin: None,
                reward_token: world.nociq.address(),
                schema: 1,
                usdc_token: world.usdc.address(),
            }
        );
        assert_eq!(world.client.version(), 1);
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
#[should_panic(expected = "Error(Contract, #308)")]
fn a_token_without_seven_decimals_is_refused() {
    let env = new_env();
    let account = Address::generate(&env);
    let token = env.register(SixDecimals, ());
    env.register(SlaCalculator, (&account, &account, &token, &token));
}

#[test]
fn other_terms_hold_from_the_next_payment_on() {
    each_code(|world| {
        let before = world.client.get_config().critical;
        let after = Terms {
            base_reward: 1,
            penalty_per_minute: 3 * TOKEN,
            threshold_minutes: 20,
        };
        update(&world, Severity::Critical, &after).unwrap();
        assert_told(
            &world,
            &events::ConfigUpdated {
                severity: Severity::Critical,
                before,
                after: after.clone(),
            },
        );
        let config = world.client.get_config();
        assert_eq!(config.critical, after);
        assert_eq!(config.high.threshold_minutes, 30);
        let paid = world.pay(&world.order(1, Severity::Critical, 25)).unwrap();
        assert_eq!(paid.amount, 15 * TOKEN);
        // x1.5 of one unit is one unit: rounded down
        assert_eq!(
            world
                .pay(&world.order(2, Severity::Critical, 14))
                .unwrap()
                .amount,
            1
        );
    });
}

#[test]
fn terms_out_of_bounds_are_refused() {
    each_code(|world| {
        let terms = |threshold_minutes, penalty_per_minute, base_reward| Terms {
            base_reward,
            penalty_per_minute,
            threshold_minutes,
        };
        let before = world.client.get_config();
        for (number, wrong) in [
            (304, terms(0, 1, 1)),
            (304, terms(THRESHOLD_MINUTES_MAX + 1, 1, 1)),
            (305, terms(1, -1, 1)),
            (305, terms(1, PENALTY_PER_MINUTE_MAX + 1, 1)),
            (306, terms(1, 1, -1)),
            (306, terms(1, 1, BASE_REWARD_MAX + 1)),
        ] {
            let refused = update(&world, Severity::Low, &wrong);
            assert_eq!(refused, Err(Some(number)), "{wrong:?}");
        }
        assert_eq!(world.client.get_config(), before);
        let greatest = terms(
            THRESHOLD_MINUTES_MAX,
            PENALTY_PER_MINUTE_MAX,
            BASE_REWARD_MAX,
        );
        update(&world, Severity::Low, &greatest).unwrap();
        update(&world, Severity::Low, &terms(1, 0, 0)).unwrap();
    });
}

#[test]
fn bands_must_pay_a_better_repair_no_less() {
    each_code(|world| {
        let before = world.client.get_config().bands;
        let wrong: [fn(&mut Bands); 5] = [
            |bands| bands.exceptional_below_percent = 76,
            |bands| bands.excellent_below_percent = 101,
            |bands| bands.good_reward_percent = 151,
            |bands| bands.excellent_reward_percent = 201,
            |bands| bands.exceptional_reward_percent = 1_001,
        ];
        for change in wrong {
            let mut bands = before.clone();
            change(&mut bands);
            assert_eq!(update_bands(&world, &bands), Err(Some(307)), "{bands:?}");
        }
        let mut after = before.clone();
        after.exceptional_reward_percent = 300;
        update_bands(&world, &after).unwrap();
        assert_told(
            &world,
            &events::BandsUpdated {
                before,
                after: after.clone(),
            },
        );
        let paid = world.pay(&world.order(1, Severity::High, 10)).unwrap();
        assert_eq!(paid.amount, 2_250 * TOKEN);
    });
}

#[test]
fn another_executor_takes_over_whole() {
    each_code(|world| {
        world.authorize(&world.admin, "set_executor", (&world.stranger,));
        world.client.set_executor(&world.stranger);
        assert_told(
            &world,
            &events::ExecutorChanged {
                before: world.executor.clone(),
                after: world.stranger.clone(),
            },
        );
        let order = world.order(1, Severity::Critical, 25);
        assert_eq!(world.pay(&order), Err(None));
        let paid = world.pay_as(&world.stranger, &order).unwrap();
        assert_eq!(paid.to, world.stranger);
        assert_eq!(world.usdc_of(&world.stranger), 1_000 * TOKEN);
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
        let config = world.client.get_config();
        assert_eq!(config.admin, world.admin);
        assert_eq!(config.pending_admin, Some(world.stranger.clone()));
        assert_eq!(accept(&world.admin), Err(None), "only the proposed one");
        accept(&world.stranger).unwrap();
        assert_told(
            &world,
            &events::AdminAccepted {
                before: world.admin.clone(),
                admin: world.stranger.clone(),
            },
        );
        let config = world.client.get_config();
        assert_eq!(config.admin, world.stranger);
        assert_eq!(config.pending_admin, None);
        assert_eq!(world.pause(), Err(None), "the old admin is out");
        assert_eq!(accept(&world.stranger), Err(Some(302)));
    });
}

#[test]
fn a_proposal_is_taken_back_by_proposing_oneself() {
    each_code(|world| {
        for proposed in [&world.stranger, &world.admin] {
            world.authorize(&world.admin, "propose_admin", (proposed,));
            world.client.propose_admin(proposed);
        }
        world.authorize(&world.stranger, "accept_admin", ());
        assert_eq!(answer(world.client.try_accept_admin()), Err(None));
    });
}

#[test]
fn pausing_twice_is_told_once() {
    each_code(|world| {
        let admin = world.admin.clone();
        world.unpause().unwrap();
        assert_told_nothing(&world);
        world.pause().unwrap();
        assert_told(
            &world,
            &events::Paused {
                admin: admin.clone(),
            },
        );
        world.pause().unwrap();
        assert_told_nothing(&world);
        assert!(world.client.get_config().paused);
        world.unpause().unwrap();
        assert_told(&world, &events::Unpaused { admin });
        assert!(!world.client.get_config().paused);
    });
}

#[test]
fn an_upgrade_keeps_state_and_markers() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        world.pay(&order).unwrap();
        let before = world.client.get_config();
        let wasm_hash = world.env.deployer().upload_contract_wasm(WASM);
        world.authorize(&world.admin, "upgrade", (&wasm_hash,));
        world.client.upgrade(&wasm_hash);
        assert!(world.env.events().all().events().contains(
            &events::Upgraded {
                wasm_hash,
                schema: 1,
            }
            .to_xdr(&world.env, &world.contract)
        ));
        assert_eq!(world.client.get_config(), before);
        assert!(world.pay(&order).unwrap().replayed);
        let next = world.pay(&world.order(2, Severity::Critical, 25)).unwrap();
        assert!(!next.replayed);
    });
}

#[test]
fn state_of_another_schema_pays_nothing_until_migrated() {
    each_code(|world| {
        let set_schema = |schema: u32| {
            world
                .env
                .as_contract(&world.contract, || storage::set_schema(&world.env, schema));
        };
        let migrate = || {
            world.authorize(&world.admin, "migrate", ());
            answer(world.client.try_migrate())
        };
        let paid = world.order(1, Severity::High, 10);
        world.pay(&paid).unwrap();
        migrate().unwrap();
        assert_told_nothing(&world);

        set_schema(0);
        let order = world.order(2, Severity::High, 10);
        assert_eq!(world.pay(&order), Err(Some(303)));
        assert!(world.pay(&paid).unwrap().replayed, "replays still answer");
        migrate().unwrap();
        assert_told(
            &world,
            &events::Migrated {
                before: 0,
                after: 1,
            },
        );
        world.pay(&order).unwrap();

        set_schema(2);
        assert_eq!(migrate(), Err(Some(303)), "older code keeps its hands off");
    });
}

#[test]
fn a_contract_without_its_state_says_so() {
    each_code(|world| {
        world.env.as_contract(&world.contract, || {
            world
                .env
                .storage()
                .instance()
                .remove(&crate::DataKey::Executor);
        });
        let order = world.order(1, Severity::High, 10);
        assert_eq!(world.pay(&order), Err(Some(309)));
    });
}
