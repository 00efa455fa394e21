//! A ledger with real Stellar Asset Contracts and classic accounts, the
//! contract, and everybody who deals with it.

use soroban_sdk::{
    testutils::{Address as _, EnvTestConfig, MockAuth, MockAuthInvoke, StellarAssetContract},
    token::{StellarAssetClient, TokenClient},
    xdr::{
        AccountEntry, AccountEntryExt, AccountId, LedgerEntry, LedgerEntryData, LedgerEntryExt,
        LedgerKey, LedgerKeyAccount, PublicKey, ScAddress, SequenceNumber, Thresholds, Uint256,
        VecM,
    },
    Address, BytesN, ConversionError, Env, Error, IntoVal, InvokeError, MuxedAddress, TryFromVal,
    Val, Vec,
};
use std::rc::Rc;

use crate::{Distribution, Payout, PayoutClient};

pub const WASM: &[u8] = include_bytes!("../../../wasm/payout.wasm");

/// Units of one whole token.
pub const TOKEN: i128 = 10_000_000;
pub const HELD: i128 = 30_000 * TOKEN;
pub const PER_CALL: i128 = 10_000 * TOKEN;
pub const PER_DAY: i128 = 25_000 * TOKEN;

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
    pub client: PayoutClient<'static>,
    pub admin: Address,
    pub executor: Address,
    pub stranger: Address,
    pub alice: Address,
    pub bob: Address,
    /// An account without a trustline.
    pub carol: Address,
    /// An address without an account.
    pub nobody: Address,
    /// An account whose trustline the issuer has frozen.
    pub frozen: Address,
    /// Allowed, and there.
    pub usdc: StellarAssetContract,
    /// There, and not allowed.
    pub other: StellarAssetContract,
}

/// The arguments of a distribution.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: BytesN<32>,
    pub token: Address,
    pub recipients: Vec<(MuxedAddress, i128)>,
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

pub fn account_address(env: &Env, number: u16) -> (AccountId, Address) {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let id = AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(key)));
    let address = Address::try_from_val(env, &ScAddress::Account(id.clone())).unwrap();
    (id, address)
}

/// An account on the ledger, without trustlines.
pub fn account(env: &Env, number: u16) -> (AccountId, Address) {
    let (id, address) = account_address(env, number);
    let key = Rc::new(LedgerKey::Account(LedgerKeyAccount {
        account_id: id.clone(),
    }));
    let entry = Rc::new(LedgerEntry {
        last_modified_ledger_seq: 0,
        data: LedgerEntryData::Account(AccountEntry {
            account_id: id.clone(),
            balance: 1_000_000_000,
            seq_num: SequenceNumber(0),
            num_sub_entries: 0,
            inflation_dest: None,
            flags: 0,
            home_domain: Default::default(),
            thresholds: Thresholds([1; 4]),
            signers: VecM::default(),
            ext: AccountEntryExt::V0,
        }),
        ext: LedgerEntryExt::V0,
    });
    env.host().add_ledger_entry(&key, &entry, None).unwrap();
    (id, address)
}

impl World {
    pub fn new(code: Code) -> Self {
        let env = new_env();
        let executor = Address::generate(&env);
        Self::with_executor(code, env, executor)
    }

    pub fn with_executor(code: Code, env: Env, executor: Address) -> Self {
        env.mock_all_auths();
        let [admin, stranger] = core::array::from_fn(|_| Address::generate(&env));
        let [alice, bob, carol, frozen] =
            core::array::from_fn(|number| account(&env, 60_000 + number as u16).1);
        let nobody = account_address(&env, 61_000).1;
        let issuer = Address::generate(&env);
        let usdc = env.register_stellar_asset_contract_v2(issuer.clone());
        let other = env.register_stellar_asset_contract_v2(issuer);
        let usdc_admin = StellarAssetClient::new(&env, &usdc.address());
        for holder in [&alice, &bob, &frozen] {
            usdc_admin.trust(holder);
        }
        usdc.issuer()
            .set_flag(soroban_sdk::testutils::IssuerFlags::RevocableFlag);
        usdc_admin.set_authorized(&frozen, &false);
        let arguments = (&admin, &executor);
        let contract = match code {
            Code::Source => env.register(Payout, arguments),
            Code::Wasm => env.register(WASM, arguments),
        };
        let client = PayoutClient::new(&env, &contract);
        client.set_token(&usdc.address(), &PER_CALL, &PER_DAY);
        for token in [&usdc, &other] {
            StellarAssetClient::new(&env, &token.address()).mint(&contract, &HELD);
        }
        // From here on nobody has authorized anything.
        env.set_auths(&[]);
        World {
            env,
            contract,
            client,
            admin,
            executor,
            stranger,
            alice,
            bob,
            carol,
            nobody,
            frozen,
            usdc,
            other,
        }
    }

    pub fn id(&self, number: u8) -> BytesN<32> {
        BytesN::from_array(&self.env, &[number; 32])
    }

    pub fn order(&self, number: u8, recipients: &[(&Address, i128)]) -> Order {
        let mut list = Vec::new(&self.env);
        for (address, amount) in recipients {
            list.push_back(((*address).into(), *amount));
        }
        Order {
            id: self.id(number),
            token: self.usdc.address(),
            recipients: list,
        }
    }

    pub fn usdc_of(&self, holder: &Address) -> i128 {
        let token = TokenClient::new(&self.env, &self.usdc.address());
        match token.try_balance(holder) {
            Ok(Ok(balance)) => balance,
            _ => 0,
        }
    }

    pub fn held(&self) -> i128 {
        self.usdc_of(&self.contract)
    }

    pub fn moved_today(&self) -> i128 {
        let state = self.client.get_token(&self.usdc.address());
        state.unwrap().moved_today
    }

    /// `signer` authorizes exactly one call of this contract, and nothing beneath.
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

    pub fn authorize_order(&self, signer: &Address, order: &Order) {
        self.authorize(signer, "distribute_winnings", order.arguments(&self.env));
    }

    /// Sends the order with no authorization but what was given before.
    pub fn send(&self, order: &Order) -> Answer<Distribution> {
        answer(
            self.client
                .try_distribute_winnings(&order.id, &order.token, &order.recipients),
        )
    }

    pub fn pay_as(&self, signer: &Address, order: &Order) -> Answer<Distribution> {
        self.authorize_order(signer, order);
        let answer = self.send(order);
        self.env.set_auths(&[]);
        answer
    }

    pub fn pay(&self, order: &Order) -> Answer<Distribution> {
        self.pay_as(&self.executor, order)
    }

    pub fn outcomes(&self, paid: &Distribution) -> std::vec::Vec<u8> {
        paid.outcomes.iter().collect()
    }

    pub fn void_as(&self, signer: &Address, id: &BytesN<32>) -> Answer<()> {
        self.authorize(signer, "void", (id,));
        answer(self.client.try_void(id))
    }

    pub fn void(&self, id: &BytesN<32>) -> Answer<()> {
        self.void_as(&self.executor, id)
    }

    pub fn pause(&self) -> Answer<()> {
        self.authorize(&self.admin, "pause", ());
        answer(self.client.try_pause())
    }

    pub fn unpause(&self) -> Answer<()> {
        self.authorize(&self.admin, "unpause", ());
        answer(self.client.try_unpause())
    }

    pub fn set_token(&self, token: &Address, per_call: i128, per_day: i128) -> Answer<()> {
        self.authorize(&self.admin, "set_token", (token, per_call, per_day));
        answer(self.client.try_set_token(token, &per_call, &per_day))
    }

    pub fn withdraw_as(&self, signer: &Address, to: &Address, amount: i128) -> Answer<()> {
        let token = self.usdc.address();
        self.authorize(signer, "withdraw", (&token, to, amount));
        answer(self.client.try_withdraw(&token, to, &amount))
    }
}

impl Order {
    pub fn arguments(&self, env: &Env) -> Vec<Val> {
        (&self.id, &self.token, &self.recipients).into_val(env)
    }
}
