#![allow(clippy::unwrap_used)]

extern crate std;

use soroban_sdk::{
    contract, contracttype,
    testutils::{storage::Persistent as _, EnvTestConfig, Ledger as _},
    Address, Bytes, BytesN, Env, IntoVal, Symbol, Val, Vec,
};

use crate::{arguments_hash, claim, get, void, Claim, Marker, MarkerKey};

#[contract]
struct Holder;

/// As a contract that pays many would keep it: one bit for each recipient.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
struct Batch(Bytes, i128);

#[contracttype]
struct Other(u32, i128);

struct World {
    env: Env,
    contract: Address,
}

impl World {
    fn new() -> Self {
        let env = Env::new_with_config(EnvTestConfig {
            capture_snapshot_at_drop: false,
        });
        let contract = env.register(Holder, ());
        World { env, contract }
    }

    fn within<T>(&self, call: impl FnOnce(&Env) -> T) -> T {
        self.env.as_contract(&self.contract, || call(&self.env))
    }

    fn id(&self, number: u8) -> BytesN<32> {
        BytesN::from_array(&self.env, &[number; 32])
    }

    fn claim(&self, id: u8, function: &str, arguments: Vec<Val>) -> Claim {
        let function = Symbol::new(&self.env, function);
        self.within(|env| claim(env, &self.id(id), &function, &arguments))
    }

    fn batch(&self) -> Batch {
        Batch(Bytes::from_array(&self.env, &[0b1011]), 30)
    }

    fn arguments(&self, number: u32) -> Vec<Val> {
        (number, 7_i128).into_val(&self.env)
    }

    /// Settles the id with the arguments of number 1.
    fn settle(&self, id: u8) {
        match self.claim(id, "distribute", self.arguments(1)) {
            Claim::Fresh(fresh) => self.within(|env| fresh.settle(env, &self.batch())),
            Claim::Replay(_) => panic!("the id is used"),
        }
    }
}

#[test]
fn the_same_arguments_answer_the_first_outcome() {
    let world = World::new();
    world.settle(1);
    let settled_ledger = world.env.ledger().sequence();
    world
        .env
        .ledger()
        .with_mut(|ledger| ledger.sequence_number += 500);
    let Claim::Replay(marker) = world.claim(1, "distribute", world.arguments(1)) else {
        panic!("it would pay again");
    };
    assert_eq!(marker.ledger, settled_ledger);
    assert!(!marker.voided);
    assert_eq!(marker.read_outcome::<Batch>(&world.env), world.batch());
}

#[test]
#[should_panic(expected = "Error(Contract, #101)")]
fn other_arguments_are_refused() {
    let world = World::new();
    world.settle(1);
    world.claim(1, "distribute", world.arguments(2));
}

#[test]
#[should_panic(expected = "Error(Contract, #101)")]
fn another_function_with_the_same_arguments_is_refused() {
    let world = World::new();
    world.settle(1);
    world.claim(1, "withdraw", world.arguments(1));
}

#[test]
#[should_panic(expected = "Error(Contract, #102)")]
fn a_voided_id_is_refused() {
    let world = World::new();
    world.within(|env| void(env, &world.id(1)));
    world.claim(1, "distribute", world.arguments(1));
}

#[test]
#[should_panic(expected = "Error(Contract, #103)")]
fn a_settled_id_is_not_voided() {
    let world = World::new();
    world.settle(1);
    world.within(|env| void(env, &world.id(1)));
}

#[test]
#[should_panic(expected = "Error(Contract, #104)")]
fn a_void_marker_has_no_outcome_to_read() {
    let world = World::new();
    world.within(|env| {
        void(env, &world.id(1));
        get(env, &world.id(1)).unwrap().read_outcome::<Batch>(env)
    });
}

#[test]
#[should_panic(expected = "Error(Contract, #104)")]
fn an_outcome_is_a_tuple() {
    let world = World::new();
    if let Claim::Fresh(fresh) = world.claim(1, "distribute", world.arguments(1)) {
        world.within(|env| fresh.settle(env, &7_u32));
    }
}

#[test]
#[should_panic(expected = "Error(Contract, #104)")]
fn an_outcome_of_another_shape_is_not_read() {
    let world = World::new();
    world.settle(1);
    world.within(|env| {
        let marker = get(env, &world.id(1)).unwrap();
        marker.read_outcome::<Other>(env)
    });
}

#[test]
fn voiding_again_changes_nothing() {
    let world = World::new();
    assert!(world.within(|env| void(env, &world.id(1))));
    let marker = world.within(|env| get(env, &world.id(1)));
    world
        .env
        .ledger()
        .with_mut(|ledger| ledger.sequence_number += 500);
    assert!(!world.within(|env| void(env, &world.id(1))));
    assert_eq!(world.within(|env| get(env, &world.id(1))), marker);
    let Marker {
        args_hash,
        outcome,
        voided,
        ..
    } = marker.unwrap();
    assert_eq!((args_hash, outcome, voided), (None, None, true));
}

#[test]
fn an_id_is_fresh_until_it_is_settled() {
    let world = World::new();
    for _ in 0..2 {
        let claim = world.claim(1, "distribute", world.arguments(1));
        assert!(matches!(claim, Claim::Fresh(_)));
    }
    world.settle(1);
    world.settle(2);
    assert_eq!(world.within(|env| get(env, &world.id(3))), None);
}

#[test]
fn markers_live_as_long_as_the_network_allows() {
    let world = World::new();
    world.settle(1);
    world.within(|env| void(env, &world.id(2)));
    let ttl_of = |number| {
        world.within(|env| {
            env.storage()
                .persistent()
                .get_ttl(&MarkerKey::Marker(world.id(number)))
        })
    };
    let max = world.within(|env| env.storage().max_ttl());
    assert_eq!([ttl_of(1), ttl_of(2)], [max, max]);
    world
        .env
        .ledger()
        .with_mut(|ledger| ledger.sequence_number += 500);
    world.claim(1, "distribute", world.arguments(1));
    world.within(|env| void(env, &world.id(2)));
    assert_eq!([ttl_of(1), ttl_of(2)], [max, max]);
}

#[test]
fn the_hash_tells_functions_and_arguments_apart() {
    let world = World::new();
    let hash = |function: &str, arguments: Vec<Val>| {
        arguments_hash(&world.env, &Symbol::new(&world.env, function), &arguments)
    };
    let first = hash("distribute", world.arguments(1));
    assert_eq!(first, hash("distribute", world.arguments(1)));
    assert_ne!(first, hash("distribute", world.arguments(2)));
    assert_ne!(first, hash("withdraw", world.arguments(1)));
}
