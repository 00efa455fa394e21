//! Whatever anybody sends in whatever order: a model of a few lines says what
//! may happen, and the ledger agrees with it after every step.

use proptest::{collection::vec, prelude::*};
use soroban_sdk::{Address, BytesN, Symbol};
use std::{boxed::Box, collections::BTreeMap};

use super::{
    sla_table::SEVERITIES,
    world::{Answer, Code, Order, World, ALLOWANCE, OPERATOR_USDC, POOL_REWARDS},
};
use crate::{PaymentKind, PaymentResult, Settled};

/// Arguments by number, so that sequences meet the same ones again.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Arguments {
    severity: usize,
    mttr_minutes: u32,
    outage: u8,
    rca: Option<u8>,
}

#[derive(Clone, Debug)]
enum Step {
    Pay {
        signer: usize,
        id: u8,
        arguments: Arguments,
    },
    Void {
        signer: usize,
        id: u8,
    },
    Pause,
    Unpause,
}

#[derive(Clone, Debug)]
enum Known {
    Paid(Box<(Arguments, PaymentResult)>),
    Void,
}

const EXECUTOR: usize = 0;

fn step() -> impl Strategy<Value = Step> {
    // the executor mostly, or little would happen
    let signer = prop_oneof![6 => Just(EXECUTOR), 1 => 1..5_usize];
    let minutes = prop_oneof![0..200_u32, 200..600_u32];
    let arguments = (0..4_usize, minutes, 1..3_u8, prop::option::of(1..3_u8)).prop_map(
        |(severity, mttr_minutes, outage, rca)| Arguments {
            severity,
            mttr_minutes,
            outage,
            rca,
        },
    );
    // few arguments, so that some are sent twice
    let few = (0..3_u32).prop_map(|number| Arguments {
        severity: number as usize,
        mttr_minutes: [25, 10, 61][number as usize],
        outage: 1,
        rca: None,
    });
    let arguments = prop_oneof![arguments, few];
    prop_oneof![
        12 => (signer.clone(), 1..7_u8, arguments)
            .prop_map(|(signer, id, arguments)| Step::Pay { signer, id, arguments }),
        2 => (signer, 1..7_u8).prop_map(|(signer, id)| Step::Void { signer, id }),
        1 => Just(Step::Pause),
        2 => Just(Step::Unpause),
    ]
}

struct Model {
    known: BTreeMap<u8, Known>,
    paused: bool,
    penalties: i128,
    rewards: i128,
}

impl Model {
    fn expected(&self, world: &World, signer: usize, id: u8, arguments: &Arguments) -> Expected {
        if signer != EXECUTOR {
            return Expected::Refused(None);
        }
        match self.known.get(&id) {
            Some(Known::Void) => return Expected::Refused(Some(102)),
            Some(Known::Paid(paid)) if paid.0 == *arguments => {
                return Expected::Replay(Box::new(paid.1.clone()))
            }
            Some(Known::Paid(..)) => return Expected::Refused(Some(101)),
            None => {}
        }
        if self.paused {
            return Expected::Refused(Some(301));
        }
        let order = order(world, id, arguments);
        let sla =
            world
                .client
                .calculate_sla(&order.outage_id, &order.severity, &order.mttr_minutes);
        match sla.kind {
            PaymentKind::Penalty if sla.amount > ALLOWANCE - self.penalties => {
                Expected::Refused(Some(201))
            }
            PaymentKind::Reward if sla.amount > POOL_REWARDS - self.rewards => {
                Expected::Refused(Some(203))
            }
            _ => Expected::Payment(sla.amount),
        }
    }
}

#[derive(Debug)]
enum Expected {
    Refused(Option<u32>),
    Replay(Box<PaymentResult>),
    Payment(i128),
}

fn order(world: &World, id: u8, arguments: &Arguments) -> Order {
    let outage_id = ["OUT001", "OUT002", "OUT003"][usize::from(arguments.outage)];
    Order {
        outage_id: Symbol::new(&world.env, outage_id),
        rca_hash: arguments.rca.map(|number| world.id(number)),
        ..world.order(id, SEVERITIES[arguments.severity], arguments.mttr_minutes)
    }
}

fn play(code: Code, steps: &[Step]) -> Result<(), TestCaseError> {
    let world = World::new(code);
    // hundreds of calls in one ledger: this is no test of the budget
    world.env.cost_estimate().budget().reset_unlimited();
    let signers: [&Address; 5] = [
        &world.executor,
        &world.admin,
        &world.operator,
        &world.noc_team,
        &world.stranger,
    ];
    let mut model = Model {
        known: BTreeMap::new(),
        paused: false,
        penalties: 0,
        rewards: 0,
    };
    for step in steps {
        match step {
            Step::Pause => {
                world.pause().unwrap();
                model.paused = true;
            }
            Step::Unpause => {
                world.unpause().unwrap();
                model.paused = false;
            }
            Step::Void { signer, id } => {
                let expected: Answer<()> = match model.known.get(id) {
                    _ if *signer != EXECUTOR => Err(None),
                    Some(Known::Paid(..)) => Err(Some(103)),
                    _ => Ok(()),
                };
                prop_assert_eq!(&world.void_as(signers[*signer], &world.id(*id)), &expected);
                if expected.is_ok() {
                    model.known.insert(*id, Known::Void);
                }
            }
            Step::Pay {
                signer,
                id,
                arguments,
            } => {
                let expected = model.expected(&world, *signer, *id, arguments);
                let order = order(&world, *id, arguments);
                let answer = world.pay_as(signers[*signer], &order);
                match (expected, answer) {
                    (Expected::Refused(number), answer) => {
                        prop_assert_eq!(answer, Err(number));
                    }
                    (Expected::Replay(first), answer) => {
                        let replay = PaymentResult {
                            replayed: true,
                            ..*first
                        };
                        prop_assert_eq!(answer, Ok(replay));
                    }
                    (Expected::Payment(amount), Ok(paid)) => {
                        prop_assert!(!paid.replayed);
                        prop_assert_eq!(paid.amount, amount);
                        match paid.kind {
                            PaymentKind::Penalty => model.penalties += amount,
                            PaymentKind::Reward => model.rewards += amount,
                        }
                        let known = Known::Paid(Box::new((arguments.clone(), paid)));
                        model.known.insert(*id, known);
                    }
                    (expected, answer) => {
                        prop_assert!(false, "{:?}, but {:?}", expected, answer);
                    }
                }
            }
        }
        agrees(&world, &model)?;
    }
    Ok(())
}

/// The sum of what was paid is the sum of what moved, and nothing is made or lost.
fn agrees(world: &World, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(
        world.balances(),
        [
            OPERATOR_USDC - model.penalties,
            model.penalties,
            POOL_REWARDS - model.rewards,
            model.rewards,
            0,
            0,
        ]
    );
    prop_assert_eq!(world.allowance(), ALLOWANCE - model.penalties);
    for number in 0..8_u8 {
        let id: BytesN<32> = world.id(number);
        let marker = world.client.get_marker(&id);
        match model.known.get(&number) {
            None => prop_assert_eq!(marker, None),
            Some(Known::Void) => prop_assert!(marker.unwrap().voided),
            Some(Known::Paid(known)) => {
                let marker = marker.unwrap();
                prop_assert!(!marker.voided);
                let Settled(amount, kind, pool, ..) = marker.read_outcome(&world.env);
                prop_assert_eq!(pool, world.executor.clone());
                prop_assert_eq!(amount, known.1.amount);
                prop_assert_eq!(kind, known.1.kind);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_source_pays_once_and_what_it_says(steps in vec(step(), 1..40)) {
        play(Code::Source, &steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_wasm_pays_once_and_what_it_says(steps in vec(step(), 1..40)) {
        play(Code::Wasm, &steps)?;
    }
}
