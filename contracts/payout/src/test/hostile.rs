//! Tokens that are not what an asset's contract is. The admin allows tokens; what
//! is allowed still cannot speak in the contract's name, stop a list or pay twice.

use soroban_sdk::{
    contract, contracterror, contractimpl, panic_with_error, Address, Bytes, BytesN, Env,
    MuxedAddress, Vec,
};

use super::world::{each_code, World, TOKEN};
use crate::PayoutClient;

#[contracterror]
#[derive(Copy, Clone)]
#[repr(u32)]
enum Says {
    Nineteen = 19,
    /// The marker's `IdReused`.
    IdReused = 101,
    Big = 65_549,
}

const NINETEEN: i128 = 1;
const ID_REUSED: i128 = 2;
const PANICS: i128 = 3;
const CALLS_BACK: i128 = 4;
const BIG: i128 = 5;

#[contract]
struct Hostile;

#[contractimpl]
impl Hostile {
    pub fn decimals(_env: Env) -> u32 {
        7
    }

    pub fn balance(_env: Env, _id: Address) -> i128 {
        i128::MAX
    }

    pub fn transfer(env: Env, from: Address, _to: MuxedAddress, amount: i128) {
        match amount {
            NINETEEN => panic_with_error!(&env, Says::Nineteen),
            ID_REUSED => panic_with_error!(&env, Says::IdReused),
            BIG => panic_with_error!(&env, Says::Big),
            PANICS => panic!("no"),
            CALLS_BACK => {
                let id = BytesN::from_array(&env, &[1; 32]);
                PayoutClient::new(&env, &from).void(&id);
            }
            _ => {}
        }
    }
}

fn hostile(world: &World) -> Address {
    let token = world.env.register(Hostile, ());
    world.set_token(&token, TOKEN, TOKEN).unwrap();
    token
}

#[test]
fn its_words_do_not_pass_for_the_contracts() {
    each_code(|world| {
        let token = hostile(&world);
        for (amount, number) in [
            (NINETEEN, 19),
            (ID_REUSED, 408),
            (BIG, 408),
            (PANICS, 408),
            (CALLS_BACK, 408),
        ] {
            let mut order = world.order(1, &[(&world.bob, amount)]);
            order.token = token.clone();
            assert_eq!(world.pay(&order), Err(Some(number)), "{amount}");
        }
    });
}

#[test]
fn it_stops_no_list_and_meets_no_id_half_way() {
    each_code(|world| {
        let token = hostile(&world);
        let mut order = world.order(1, &[]);
        let mut list: Vec<(MuxedAddress, i128)> = Vec::new(&world.env);
        for amount in [NINETEEN, ID_REUSED, 100, PANICS, CALLS_BACK, BIG, 100] {
            list.push_back(((&world.bob).into(), amount));
        }
        order.recipients = list;
        order.token = token;
        let paid = world.pay(&order).unwrap();
        let expected = [19, 255, 0, 255, 255, 255, 0];
        assert_eq!(paid.outcomes, Bytes::from_slice(&world.env, &expected));
        assert_eq!(paid.amount, 200);
        assert!(!world.client.get_marker(&order.id).unwrap().voided);
    });
}
