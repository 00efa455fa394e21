use soroban_sdk::{testutils::Events as _, testutils::Ledger as _, BytesN, Event, Symbol};

use super::world::each_code;
use crate::{events, rca::VERSIONS_MAX, RcaAnchor, Severity};

#[test]
fn the_first_report_stands_and_corrections_are_appended() {
    each_code(|world| {
        let outage_id = Symbol::new(&world.env, "OUT001");
        assert_eq!(world.client.get_rca(&outage_id), None);
        assert!(world.client.get_rca_history(&outage_id).is_empty());

        let first_ledger = world.env.ledger().sequence();
        assert_eq!(world.record_rca(&outage_id, &world.id(1)), Ok(1));
        let told = world.env.events().all();
        assert_eq!(
            told.events(),
            [events::RcaAnchored {
                outage_id: outage_id.clone(),
                hash: world.id(1),
                version: 1,
            }
            .to_xdr(&world.env, &world.contract)]
            .as_slice()
        );
        world
            .env
            .ledger()
            .with_mut(|ledger| ledger.sequence_number += 10);
        assert_eq!(world.record_rca(&outage_id, &world.id(2)), Ok(2));

        let first = RcaAnchor {
            hash: world.id(1),
            ledger: first_ledger,
            version: 1,
        };
        let second = RcaAnchor {
            hash: world.id(2),
            ledger: first_ledger + 10,
            version: 2,
        };
        assert_eq!(world.client.get_rca(&outage_id), Some(second.clone()));
        assert_eq!(
            world.client.get_rca_history(&outage_id),
            soroban_sdk::vec![&world.env, first, second]
        );
        let other = Symbol::new(&world.env, "OUT002");
        assert_eq!(world.client.get_rca(&other), None);
    });
}

#[test]
fn a_known_report_again_changes_nothing() {
    each_code(|world| {
        let outage_id = Symbol::new(&world.env, "OUT001");
        for (number, version) in [(1, 1), (1, 1), (2, 2), (1, 1), (2, 2)] {
            let recorded = world.record_rca(&outage_id, &world.id(number));
            assert_eq!(recorded, Ok(version));
        }
        assert!(world.env.events().all().events().is_empty());
        assert_eq!(world.client.get_rca_history(&outage_id).len(), 2);
        assert_eq!(world.client.get_rca(&outage_id).unwrap().version, 2);
    });
}

#[test]
fn an_outage_has_a_greatest_number_of_reports() {
    each_code(|world| {
        let outage_id = Symbol::new(&world.env, "OUT001");
        let hash = |number: u32| BytesN::from_array(&world.env, &[number as u8; 32]);
        for number in 1..=VERSIONS_MAX {
            assert_eq!(world.record_rca(&outage_id, &hash(number)), Ok(number));
        }
        let beyond = hash(VERSIONS_MAX + 1);
        assert_eq!(world.record_rca(&outage_id, &beyond), Err(Some(210)));
        assert_eq!(world.record_rca(&outage_id, &hash(1)), Ok(1));

        // A payment that cannot anchor its report does not pay either.
        let mut order = world.order(1, Severity::Critical, 25);
        order.rca_hash = Some(beyond);
        let before = world.balances();
        assert_eq!(world.pay(&order), Err(Some(210)));
        assert_eq!(world.balances(), before);
        assert_eq!(world.client.get_marker(&order.id), None);
    });
}
