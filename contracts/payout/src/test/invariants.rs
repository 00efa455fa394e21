//! Whatever anybody sends in whatever order: a model of a few lines says what
//! may happen, and the ledger agrees with it after every step.

use proptest::{collection::vec, prelude::*};
use soroban_sdk::{testutils::Ledger as _, Address};
use std::{boxed::Box, collections::BTreeMap, vec::Vec};

use super::world::{Answer, Code, Order, World, HELD, PER_CALL, PER_DAY};
use crate::{Distribution, Settled};

const DAY_SECONDS: u64 = 86_400;
const FIRST_DAY: u64 = 20_000;

/// Who is paid, by number (see `recipient`), and how much.
type List = Vec<(usize, i128)>;

#[derive(Clone, Debug)]
enum Step {
    Pay { signer: usize, id: u8, list: List },
    Void { signer: usize, id: u8 },
    Withdraw { signer: usize, amount: i128 },
    NextDay,
    Pause,
    Unpause,
}

#[derive(Clone, Debug)]
enum Known {
    Paid(List, Box<Distribution>),
    Void,
}

const EXECUTOR: usize = 0;
const ADMIN: usize = 1;
const SIGNERS: usize = 3;
const RECIPIENTS: usize = 6;

/// The recipients, and the byte that each is told by.
fn recipient(world: &World, number: usize) -> (&Address, u8) {
    [
        (&world.alice, 0),
        (&world.bob, 0),
        (&world.carol, 13),
        (&world.nobody, 13),
        (&world.frozen, 11),
        (&world.contract, 255),
    ][number]
}

fn step() -> impl Strategy<Value = Step> {
    let signer = |most: usize| prop_oneof![6 => Just(most), 1 => 0..SIGNERS];
    let amount = prop_oneof![
        8 => 1..PER_CALL / 3,
        1 => Just(0),
        1 => PER_CALL / 2..PER_CALL * 2,
    ];
    let who = prop_oneof![4 => 0..2_usize, 1 => 0..RECIPIENTS];
    let list = vec((who, amount.clone()), 0..5);
    // few lists, so that some are sent twice
    let few = (0..3_usize).prop_map(|number| Vec::from([(number, 7), (number / 2, 5)]));
    let list = prop_oneof![2 => list, 1 => few];
    prop_oneof![
        16 => (signer(EXECUTOR), 1..10_u8, list)
            .prop_map(|(signer, id, list)| Step::Pay { signer, id, list }),
        2 => (signer(EXECUTOR), 1..10_u8).prop_map(|(signer, id)| Step::Void { signer, id }),
        1 => (signer(ADMIN), amount).prop_map(|(signer, amount)| Step::Withdraw { signer, amount }),
        1 => Just(Step::NextDay),
        1 => Just(Step::Pause),
        2 => Just(Step::Unpause),
    ]
}

#[derive(Default)]
struct Model {
    known: BTreeMap<u8, Known>,
    paused: bool,
    day: u64,
    /// What moved by distributions, on each day.
    moved: BTreeMap<u64, i128>,
    received: [i128; 2],
    withdrawn: i128,
}

#[derive(Debug)]
enum Expected {
    Refused(Option<u32>),
    Replay(Box<Distribution>),
    Payment { amount: i128, outcomes: Vec<u8> },
}

impl Model {
    fn held(&self) -> i128 {
        HELD - self.moved.values().sum::<i128>() - self.withdrawn
    }

    fn moved_today(&self) -> i128 {
        self.moved.get(&self.day).copied().unwrap_or(0)
    }

    fn expected(&self, world: &World, signer: usize, id: u8, list: &List) -> Expected {
        if signer != EXECUTOR {
            return Expected::Refused(None);
        }
        match self.known.get(&id) {
            Some(Known::Void) => return Expected::Refused(Some(102)),
            Some(Known::Paid(paid, first)) if paid == list => {
                return Expected::Replay(first.clone())
            }
            Some(Known::Paid(..)) => return Expected::Refused(Some(101)),
            None => {}
        }
        let total: i128 = list.iter().map(|(_, amount)| amount).sum();
        let refused = if self.paused {
            Some(301)
        } else if list.is_empty() {
            Some(401)
        } else if list.iter().any(|(_, amount)| *amount <= 0) {
            Some(403)
        } else if total > PER_CALL {
            Some(405)
        } else if self.moved_today() + total > PER_DAY {
            Some(406)
        } else if total > self.held() {
            Some(407)
        } else if let [(only, _)] = list[..] {
            match recipient(world, only).1 {
                0 => None,
                255 => Some(409),
                number => Some(number.into()),
            }
        } else {
            None
        };
        if refused.is_some() {
            return Expected::Refused(refused);
        }
        let outcomes: Vec<u8> = list
            .iter()
            .map(|(who, _)| recipient(world, *who).1)
            .collect();
        let paid = list.iter().zip(&outcomes).filter(|(_, byte)| **byte == 0);
        Expected::Payment {
            amount: paid.map(|((_, amount), _)| amount).sum(),
            outcomes,
        }
    }

    fn pay(&mut self, id: u8, list: &List, paid: Distribution) {
        *self.moved.entry(self.day).or_default() += paid.amount;
        for (who, amount) in list.iter().filter(|(who, _)| *who < 2) {
            self.received[*who] += amount;
        }
        self.known
            .insert(id, Known::Paid(list.clone(), Box::new(paid)));
    }
}

fn order(world: &World, id: u8, list: &List) -> Order {
    let list: Vec<_> = list
        .iter()
        .map(|(who, amount)| (recipient(world, *who).0, *amount))
        .collect();
    world.order(id, &list)
}

fn play(code: Code, steps: &[Step]) -> Result<(), TestCaseError> {
    let world = World::new(code);
    // hundreds of calls in one ledger: this is no test of the budget
    world.env.cost_estimate().budget().reset_unlimited();
    let signers = [&world.executor, &world.admin, &world.stranger];
    let mut model = Model::default();
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
            Step::NextDay => {
                model.day += 1;
                let seconds = (FIRST_DAY + model.day) * DAY_SECONDS;
                world.env.ledger().set_timestamp(seconds);
            }
            Step::Withdraw { signer, amount } => {
                let expected: Answer<()> = match *amount {
                    _ if *signer != ADMIN => Err(None),
                    0 => Err(Some(403)),
                    amount if amount > model.held() => Err(Some(407)),
                    _ => Ok(()),
                };
                let answer = world.withdraw_as(signers[*signer], &world.stranger, *amount);
                prop_assert_eq!(&answer, &expected);
                if expected.is_ok() {
                    model.withdrawn += amount;
                }
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
            Step::Pay { signer, id, list } => {
                let expected = model.expected(&world, *signer, *id, list);
                let answer = world.pay_as(signers[*signer], &order(&world, *id, list));
                match (expected, answer) {
                    (Expected::Refused(number), answer) => {
                        prop_assert_eq!(answer, Err(number));
                    }
                    (Expected::Replay(first), answer) => {
                        let replay = Distribution {
                            replayed: true,
                            ..*first
                        };
                        prop_assert_eq!(answer, Ok(replay));
                    }
                    (Expected::Payment { amount, outcomes }, Ok(paid)) => {
                        prop_assert!(!paid.replayed);
                        prop_assert_eq!(paid.amount, amount);
                        prop_assert_eq!(world.outcomes(&paid), outcomes);
                        model.pay(*id, list, paid);
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

/// What moved is the sum of the paid rows and within the caps, and nothing is
/// made or lost.
fn agrees(world: &World, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.held(), model.held());
    prop_assert_eq!(world.usdc_of(&world.alice), model.received[0]);
    prop_assert_eq!(world.usdc_of(&world.bob), model.received[1]);
    prop_assert_eq!(world.usdc_of(&world.stranger), model.withdrawn);
    let everywhere = [&world.alice, &world.bob, &world.stranger, &world.contract];
    let sum: i128 = everywhere.map(|holder| world.usdc_of(holder)).iter().sum();
    prop_assert_eq!(sum, HELD);
    prop_assert_eq!(world.moved_today(), model.moved_today());
    prop_assert!(model.moved.values().all(|moved| *moved <= PER_DAY));
    let mut paid = 0;
    for number in 0..11_u8 {
        let marker = world.client.get_marker(&world.id(number));
        match model.known.get(&number) {
            None => prop_assert_eq!(marker, None),
            Some(Known::Void) => prop_assert!(marker.unwrap().voided),
            Some(Known::Paid(_, first)) => {
                let marker = marker.unwrap();
                prop_assert!(!marker.voided);
                let Settled(outcomes, amount) = marker.read_outcome(&world.env);
                prop_assert_eq!(&outcomes, &first.outcomes);
                prop_assert_eq!(amount, first.amount);
                prop_assert!(amount <= PER_CALL);
                paid += amount;
            }
        }
    }
    prop_assert_eq!(paid, model.received.iter().sum::<i128>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_source_pays_once_within_the_caps_and_what_it_says(steps in vec(step(), 1..40)) {
        play(Code::Source, &steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_wasm_pays_once_within_the_caps_and_what_it_says(steps in vec(step(), 1..40)) {
        play(Code::Wasm, &steps)?;
    }
}
