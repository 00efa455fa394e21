//! A ledger with two real Stellar Asset Contracts, the contract, and everybody
//! who deals with it.

use soroban_sdk::{
    testutils::{Address as _, EnvTestConfig, MockAuth, MockAuthInvoke, StellarAssetContract},
    token::{StellarAssetClient, TokenClient},
    Address, BytesN, ConversionError, Env, Error, IntoVal, InvokeError, Symbol, Val, Vec,
};

use crate::{sla::TOKEN, PaymentResult, Severity, SlaCalculator, SlaCalculatorClient};

pub const WASM: &[u8] = include_bytes!("../../../wasm/sla_calculator.wasm");

pub const OPERATOR_USDC: i128 = 50_000 * TOKEN;
pub const ALLOWANCE: i128 = 40_000 * TOKEN;
pub const POOL_REWARDS: i128 = 30_000 * TOKEN;

#[derive(Copy, Clone, Debug)]
pub enum Code {
    Source,
    Wasm,
}

pub fn each_code(test: impl Fn(World)) {
    for code in [Code::Source, Code::Wasm] {
        std::println!("{code:?}");
        test(World::new(code));
    }
}

pub struct World {
    pub env: Env,
    pub contract: Address,
    pub client: SlaCalculatorClient<'static>,
    pub admin: Address,
    pub executor: Address,
    pub operator: Address,
    pub noc_team: Address,
    pub stranger: Address,
    pub usdc: StellarAssetContract,
    pub nociq: StellarAssetContract,
}

/// The arguments of a payment.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: BytesN<32>,
    pub outage_id: Symbol,
    pub severity: Severity,
    pub mttr_minutes: u32,
    pub operator: Address,
    pub noc_team: Address,
    pub rca_hash: Option<BytesN<32>>,
}

/// What a refused call answers: the contract's number, or none where the host
/// refused (for example: an authorization is missing).
pub type Answer<T> = Result<T, Option<u32>>;

pub fn answer<T>(
    result: Result<Result<T, ConversionError>, Result<Error, InvokeError>>,
) -> Answer<T> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => panic!("an answer of another type"),
        Err(Ok(error)) if error.is_type(soroban_sdk::xdr::ScErrorType::Contract) => {
            Err(Some(error.get_code()))
        }
        Err(Err(InvokeError::Contract(number))) => Err(Some(number)),
        Err(_) => Err(None),
    }
}

pub fn new_env() -> Env {
    Env::new_with_config(EnvTestConfig {
        capture_snapshot_at_drop: false,
    })
}

impl World {
    pub fn new(code: Code) -> Self {
        let env = new_env();
        let [admin, executor, operator, noc_team, stranger] =
            core::array::from_fn(|_| Address::generate(&env));
        Self::with_parties(code, env, admin, executor, operator, noc_team, stranger)
    }

    pub fn with_parties(
        code: Code,
        env: Env,
        admin: Address,
        executor: Address,
        operator: Address,
        noc_team: Address,
        stranger: Address,
    ) -> Self {
        env.mock_all_auths();
        let issuer = Address::generate(&env);
        let usdc = env.register_stellar_asset_contract_v2(issuer.clone());
        let nociq = env.register_stellar_asset_contract_v2(issuer);
        for token in [&usdc, &nociq] {
            for holder in [&executor, &operator, &noc_team] {
                StellarAssetClient::new(&env, &token.address()).trust(holder);
            }
        }
        let arguments = (&admin, &executor, usdc.address(), nociq.address());
        let contract = match code {
            Code::Source => env.register(SlaCalculator, arguments),
            Code::Wasm => env.register(WASM, arguments),
        };
        StellarAssetClient::new(&env, &usdc.address()).mint(&operator, &OPERATOR_USDC);
        StellarAssetClient::new(&env, &nociq.address()).mint(&executor, &POOL_REWARDS);
        let live_until = env.ledger().sequence() + 100_000;
        TokenClient::new(&env, &usdc.address()).approve(
            &operator,
            &contract,
            &ALLOWANCE,
            &live_until,
        );
        // From here on nobody has authorized anything.
        env.set_auths(&[]);
        let client = SlaCalculatorClient::new(&env, &contract);
        World {
            env,
            contract,
            client,
            admin,
            executor,
            operator,
            noc_team,
            stranger,
            usdc,
            nociq,
        }
    }

    pub fn id(&self, number: u8) -> BytesN<32> {
        BytesN::from_array(&self.env, &[number; 32])
    }

    pub fn order(&self, number: u8, severity: Severity, mttr_minutes: u32) -> Order {
        Order {
            id: self.id(number),
            outage_id: Symbol::new(&self.env, "OUT001"),
            severity,
            mttr_minutes,
            operator: self.operator.clone(),
            noc_team: self.noc_team.clone(),
            rca_hash: None,
        }
    }

    pub fn usdc_of(&self, holder: &Address) -> i128 {
        TokenClient::new(&self.env, &self.usdc.address()).balance(holder)
    }

    pub fn nociq_of(&self, holder: &Address) -> i128 {
        TokenClient::new(&self.env, &self.nociq.address()).balance(holder)
    }

    pub fn allowance(&self) -> i128 {
        TokenClient::new(&self.env, &self.usdc.address()).allowance(&self.operator, &self.contract)
    }

    /// All balances that a payment may touch.
    pub fn balances(&self) -> [i128; 6] {
        [
            self.usdc_of(&self.operator),
            self.usdc_of(&self.executor),
            self.nociq_of(&self.executor),
            self.nociq_of(&self.noc_team),
            self.usdc_of(&self.noc_team) + self.usdc_of(&self.contract),
            self.nociq_of(&self.operator) + self.nociq_of(&self.contract),
        ]
    }

    /// `signer` authorizes exactly one call of this contract.
    pub fn authorize(&self, signer: &Address, function: &str, args: impl IntoVal<Env, Vec<Val>>) {
        self.env.mock_auths(&[MockAuth {
            address: signer,
            invoke: &MockAuthInvoke {
                contract: &self.contract,
                fn_name: function,
                args: args.into_val(&self.env),
                sub_invokes: &[],
            },
        }]);
    }

    /// `signer` authorizes exactly this payment, with the transfer of the reward
    /// beneath it, if it is one.
    pub fn authorize_order(&self, signer: &Address, order: &Order) {
        let sla = self
            .client
            .calculate_sla(&order.outage_id, &order.severity, &order.mttr_minutes);
        let token = self.nociq.address();
        let transfer = MockAuthInvoke {
            contract: &token,
            fn_name: "transfer",
            args: (signer, &order.noc_team, sla.amount).into_val(&self.env),
            sub_invokes: &[],
        };
        let beneath = [transfer];
        self.env.mock_auths(&[MockAuth {
            address: signer,
            invoke: &MockAuthInvoke {
                contract: &self.contract,
                fn_name: "execute_payment",
                args: order.arguments(&self.env),
                sub_invokes: if sla.violated { &[] } else { &beneath },
            },
        }]);
    }

    /// Sends the order with no authorization but what was given before.
    pub fn send(&self, order: &Order) -> Answer<PaymentResult> {
        answer(self.client.try_execute_payment(
            &order.id,
            &order.outage_id,
            &order.severity,
            &order.mttr_minutes,
            &order.operator,
            &order.noc_team,
            &order.rca_hash,
        ))
    }

    pub fn pay_as(&self, signer: &Address, order: &Order) -> Answer<PaymentResult> {
        self.authorize_order(signer, order);
        let answer = self.send(order);
        self.env.set_auths(&[]);
        answer
    }

    pub fn pay(&self, order: &Order) -> Answer<PaymentResult> {
        self.pay_as(&self.executor, order)
    }

    pub fn void_as(&self, signer: &Address, id: &BytesN<32>) -> Answer<()> {
        self.authorize(signer, "void", (id,));
        answer(self.client.try_void(id))
    }

    pub fn void(&self, id: &BytesN<32>) -> Answer<()> {
        self.void_as(&self.executor, id)
    }

    pub fn record_rca(&self, outage_id: &Symbol, hash: &BytesN<32>) -> Answer<u32> {
        self.authorize(&self.executor, "record_rca", (outage_id, hash));
        answer(self.client.try_record_rca(outage_id, hash))
    }

    pub fn pause(&self) -> Answer<()> {
        self.authorize(&self.admin, "pause", ());
        answer(self.client.try_pause())
    }

    pub fn unpause(&self) -> Answer<()> {
        self.authorize(&self.admin, "unpause", ());
        answer(self.client.try_unpause())
    }

    pub fn approve(&self, amount: i128, live_until: u32) {
        self.env.mock_all_auths();
        TokenClient::new(&self.env, &self.usdc.address()).approve(
            &self.operator,
            &self.contract,
            &amount,
            &live_until,
        );
        self.env.set_auths(&[]);
    }
}

impl Order {
    pub fn arguments(&self, env: &Env) -> Vec<Val> {
        (
            &self.id,
            &self.outage_id,
            self.severity,
            self.mttr_minutes,
            &self.operator,
            &self.noc_team,
            &self.rca_hash,
        )
            .into_val(env)
    }
}
