use settlement_marker::{Claim, Marker};
use soroban_sdk::{
    contract, contractimpl, contractmeta, panic_with_error, token::TokenClient, Address, BytesN,
    Env, IntoVal, MuxedAddress, Symbol, Val, Vec,
};

use crate::{
    distribution, events,
    storage::{self, MAX_TOKENS, SCHEMA},
    AdminError, Caps, Config, Distribution, PayoutError, Settled, TokenState,
};

contractmeta!(key = "Name", val = "Holdfast payout");
contractmeta!(key = "Version", val = env!("CARGO_PKG_VERSION"));

const TOKEN_DECIMALS: u32 = 7;

#[contract]
pub struct Payout;

#[contractimpl]
impl Payout {
    /// Sets up the contract, once. It pays nothing until a token is allowed and
    /// funded.
    ///
    /// # Arguments
    ///
    /// * `admin` - configures, withdraws, pauses and upgrades; cannot pay.
    /// * `executor` - the payer's account: the only caller of distributions.
    ///
    /// # Security
    ///
    /// Asks for no authorization: the host runs it within the deployment only.
    pub fn __constructor(env: Env, admin: Address, executor: Address) {
        storage::initialize(&env, &admin, &executor);
        storage::extend_instance_to_max(&env);
    }

    /// Pays a list out of the contract's balance, once for each id.
    ///
    /// The steps, in this order:
    ///
    /// 1. the executor's authorization, before anything else is read;
    /// 2. the marker: the same id and arguments answer the first outcome with
    ///    `replayed` true, and nothing moves. That holds while paused too, and
    ///    for a token that is allowed no more, so that whoever asks "did it
    ///    pay?" always gets the answer;
    /// 3. paused, and the schema of the state;
    /// 4. the list: its length, its amounts, the token and its caps, and the
    ///    contract's balance;
    /// 5. a transfer for each recipient. With one recipient, what refuses the
    ///    transfer refuses the call; with several, who cannot be paid is told
    ///    in `outcomes` and the rest are paid;
    /// 6. the day's sum and the marker are written, the event told.
    ///
    /// A refusal at any step undoes the whole call: the id stays unused.
    ///
    /// # Arguments
    ///
    /// * `settlement_id` - names this list for ever.
    /// * `recipients` - 1 to [`crate::MAX_RECIPIENTS`], each with an amount
    ///   above zero in units of 10^-7 token. A recipient may appear twice.
    ///
    /// # Errors
    ///
    /// * `PayoutError` - a rule is broken.
    /// * the token's own number (below 100) - the only recipient cannot be paid.
    pub fn distribute_winnings(
        env: Env,
        settlement_id: BytesN<32>,
        token: Address,
        recipients: Vec<(MuxedAddress, i128)>,
    ) -> Distribution {
        storage::executor(&env).require_auth();
        storage::extend_instance(&env);

        let arguments: Vec<Val> = (token.clone(), recipients.clone()).into_val(&env);
        let function = Symbol::new(&env, "distribute_winnings");
        let fresh = match settlement_marker::claim(&env, &settlement_id, &function, &arguments) {
            Claim::Fresh(fresh) => fresh,
            Claim::Replay(marker) => {
                let first: Settled = marker.read_outcome(&env);
                events::Replayed {
                    id: settlement_id,
                    settled_ledger: marker.ledger,
                }
                .publish(&env);
                return distribution(&env, token, first, true);
            }
        };
        require_in_service(&env);
        distribution::check(&env, &token, &recipients);
        // The host refuses a call back into this contract, so that no token can
        // meet the id between its transfers and the marker.
        let settled = distribution::pay(&env, &token, &recipients);
        fresh.settle(&env, &settled);
        events::Distributed {
            id: settlement_id,
            token: token.clone(),
            amount: settled.1,
            outcomes: settled.0.clone(),
        }
        .publish(&env);
        distribution(&env, token, settled, false)
    }

    /// Kills an id that has not paid, so that it never can. Executor only.
    /// Idempotent. Works while paused: it moves nothing.
    ///
    /// # Errors
    ///
    /// * `MarkerError::AlreadySettled` - the id has paid.
    pub fn void(env: Env, id: BytesN<32>) {
        storage::executor(&env).require_auth();
        storage::extend_instance(&env);
        if settlement_marker::void(&env, &id) {
            events::Voided { id }.publish(&env);
        }
    }

    /// The marker of an id: what it paid, or that it is void. Reads only.
    ///
    /// # Security
    ///
    /// Asks for no authorization: markers are public on the ledger.
    pub fn get_marker(env: Env, id: BytesN<32>) -> Option<Marker> {
        settlement_marker::get(&env, &id)
    }

    /// Moves money of `from` into the contract. Anybody may, with their own;
    /// also while paused. A plain transfer to the contract funds it as well.
    ///
    /// # Errors
    ///
    /// * `PayoutError::TokenNotAllowed` - it could never be paid out.
    /// * `PayoutError::AmountNotPositive`
    /// * the token's own number - `from` cannot pay it.
    pub fn fund(env: Env, from: Address, token: Address, amount: i128) {
        from.require_auth();
        if !storage::tokens(&env).contains_key(token.clone()) {
            panic_with_error!(&env, PayoutError::TokenNotAllowed);
        }
        require_positive(&env, amount);
        storage::extend_instance(&env);
        TokenClient::new(&env, &token).transfer(&from, env.current_contract_address(), &amount);
        events::Funded {
            from,
            token,
            amount,
        }
        .publish(&env);
    }

    /// Moves money out of the contract. Admin only; also while paused, of any
    /// token, and outside of the caps.
    ///
    /// # Errors
    ///
    /// * `PayoutError::AmountNotPositive`, `PayoutError::BalanceTooSmall`
    /// * the token's own number - `to` cannot receive it.
    pub fn withdraw(env: Env, token: Address, to: Address, amount: i128) {
        require_admin(&env);
        require_positive(&env, amount);
        let from = env.current_contract_address();
        let client = TokenClient::new(&env, &token);
        if client.balance(&from) < amount {
            panic_with_error!(&env, PayoutError::BalanceTooSmall);
        }
        client.transfer(&from, &to, &amount);
        events::Withdrawn { to, token, amount }.publish(&env);
    }

    /// Allows a token, or changes its caps. Admin only. What has moved today
    /// keeps counting.
    ///
    /// # Arguments
    ///
    /// * `token` - a SEP-41 token with seven decimals.
    /// * `per_call`, `per_day` - see [`Caps`]; 1 <= `per_call` <= `per_day`.
    ///
    /// # Errors
    ///
    /// * `AdminError::CapsOutOfBounds`, `AdminError::TokenDecimals`,
    ///   `AdminError::TooManyTokens`
    ///
    /// # Security
    ///
    /// An allowed token is called. Allow none that you would not hold yourself.
    pub fn set_token(env: Env, token: Address, per_call: i128, per_day: i128) {
        require_admin(&env);
        if per_call < 1 || per_day < per_call {
            panic_with_error!(&env, AdminError::CapsOutOfBounds);
        }
        if TokenClient::new(&env, &token).decimals() != TOKEN_DECIMALS {
            panic_with_error!(&env, AdminError::TokenDecimals);
        }
        let mut tokens = storage::tokens(&env);
        tokens.set(token.clone(), Caps { per_call, per_day });
        if tokens.len() > MAX_TOKENS {
            panic_with_error!(&env, AdminError::TooManyTokens);
        }
        storage::set_tokens(&env, &tokens);
        events::TokenSet {
            token,
            per_call,
            per_day,
        }
        .publish(&env);
    }

    /// Allows a token no more. Admin only; one that is not allowed changes
    /// nothing. What the contract holds of it can be withdrawn.
    pub fn remove_token(env: Env, token: Address) {
        require_admin(&env);
        let mut tokens = storage::tokens(&env);
        if tokens.remove(token.clone()).is_some() {
            storage::set_tokens(&env, &tokens);
            events::TokenRemoved { token }.publish(&env);
        }
    }

    /// An allowed token's caps, what moved of it today and what is there; none
    /// where it is not allowed. Reads only.
    pub fn get_token(env: Env, token: Address) -> Option<TokenState> {
        let caps = storage::tokens(&env).get(token.clone())?;
        Some(TokenState {
            balance: TokenClient::new(&env, &token).balance(&env.current_contract_address()),
            moved_today: storage::moved_today(&env, &token),
            per_call: caps.per_call,
            per_day: caps.per_day,
        })
    }

    /// Everything that is configured. Reads only.
    pub fn get_config(env: Env) -> Config {
        storage::config(&env)
    }

    /// Makes another account the only caller of distributions. Admin only.
    /// Settled ids keep their outcomes; the new executor can replay them.
    ///
    /// # Security
    ///
    /// Whoever is named here can send the contract's money anywhere, up to the
    /// caps. Pause first, and settle or void what is under way.
    pub fn set_executor(env: Env, executor: Address) {
        require_admin(&env);
        let before = storage::executor(&env);
        storage::set_executor(&env, &executor);
        events::ExecutorChanged {
            before,
            after: executor,
        }
        .publish(&env);
    }

    /// Proposes another admin, who takes over by `accept_admin`. Admin only. A
    /// second proposal replaces the first; to take one back, propose yourself.
    pub fn propose_admin(env: Env, new_admin: Address) {
        let admin = require_admin(&env);
        storage::set_pending_admin(&env, Some(&new_admin));
        events::AdminProposed {
            admin,
            proposed: new_admin,
        }
        .publish(&env);
    }

    /// Takes over as admin. Only the proposed account.
    ///
    /// # Errors
    ///
    /// * `AdminError::NoPendingAdmin` - nobody is proposed.
    pub fn accept_admin(env: Env) {
        let Some(admin) = storage::pending_admin(&env) else {
            panic_with_error!(&env, AdminError::NoPendingAdmin);
        };
        admin.require_auth();
        let before = storage::admin(&env);
        storage::set_admin(&env, &admin);
        storage::set_pending_admin(&env, None);
        events::AdminAccepted { before, admin }.publish(&env);
    }

    /// Stops distributions. Replays, reads, voids, funding and withdrawing go
    /// on. Admin only; pausing twice changes nothing.
    pub fn pause(env: Env) {
        let admin = require_admin(&env);
        if !storage::paused(&env) {
            storage::set_paused(&env, true);
            events::Paused { admin }.publish(&env);
        }
    }

    /// Lets distributions go on. Admin only; doing it twice changes nothing.
    pub fn unpause(env: Env) {
        let admin = require_admin(&env);
        if storage::paused(&env) {
            storage::set_paused(&env, false);
            events::Unpaused { admin }.publish(&env);
        }
    }

    /// Replaces the contract's code by an uploaded one, with effect from the
    /// next call. Admin only. The state stays; code with a newer schema refuses
    /// to pay until `migrate` has run.
    ///
    /// # Security
    ///
    /// New code can do whatever it likes with the contract's money. Give this
    /// power to a multisignature account.
    pub fn upgrade(env: Env, wasm_hash: BytesN<32>) {
        require_admin(&env);
        env.deployer()
            .update_current_contract_wasm(wasm_hash.clone());
        storage::extend_instance(&env);
        events::Upgraded {
            wasm_hash,
            schema: storage::schema(&env),
        }
        .publish(&env);
    }

    /// Brings older state to this code's schema. Admin only; nothing to do
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// * `AdminError::SchemaMismatch` - the state is newer than this code.
    pub fn migrate(env: Env) {
        require_admin(&env);
        let before = storage::schema(&env);
        if before > SCHEMA {
            panic_with_error!(&env, AdminError::SchemaMismatch);
        }
        if before < SCHEMA {
            storage::set_schema(&env, SCHEMA);
            events::Migrated {
                before,
                after: SCHEMA,
            }
            .publish(&env);
        }
    }

    /// The schema that this code reads and writes.
    pub fn version(_env: Env) -> u32 {
        SCHEMA
    }
}

fn require_admin(env: &Env) -> Address {
    let admin = storage::admin(env);
    admin.require_auth();
    admin
}

fn require_positive(env: &Env, amount: i128) {
    if amount <= 0 {
        panic_with_error!(env, PayoutError::AmountNotPositive);
    }
}

fn require_in_service(env: &Env) {
    if storage::schema(env) != SCHEMA {
        panic_with_error!(env, AdminError::SchemaMismatch);
    }
    if storage::paused(env) {
        panic_with_error!(env, AdminError::Paused);
    }
}

fn distribution(
    env: &Env,
    token: Address,
    Settled(outcomes, amount): Settled,
    replayed: bool,
) -> Distribution {
    Distribution {
        amount,
        from: env.current_contract_address(),
        outcomes,
        replayed,
        token,
    }
}
