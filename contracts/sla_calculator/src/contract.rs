use settlement_marker::{Claim, Marker};
use soroban_sdk::{
    contract, contractimpl, contractmeta, panic_with_error, token::TokenClient, Address, BytesN,
    Env, IntoVal, Symbol, Val, Vec,
};

use crate::{
    events, payment, rca, sla,
    storage::{self, SCHEMA},
    AdminError, Bands, Config, PaymentKind, PaymentResult, RcaAnchor, Settled, Severity, SlaResult,
    Terms,
};

contractmeta!(key = "Name", val = "Holdfast SLA calculator");
contractmeta!(key = "Version", val = env!("CARGO_PKG_VERSION"));

const TOKEN_DECIMALS: u32 = 7;

#[contract]
pub struct SlaCalculator;

#[contractimpl]
impl SlaCalculator {
    /// Sets up the contract, once, with the initial terms and bands.
    ///
    /// # Arguments
    ///
    /// * `admin` - configures, pauses and upgrades; cannot pay.
    /// * `executor` - the pool account: it pays rewards, receives penalties, and
    ///   is the only caller of payments.
    /// * `usdc_token` - the token of penalties, seven decimals. Fixed.
    /// * `reward_token` - the token of rewards, seven decimals. Fixed.
    ///
    /// # Errors
    ///
    /// * `AdminError::TokenDecimals` - a token has other than seven decimals.
    ///
    /// # Security
    ///
    /// Asks for no authorization: the host runs it within the deployment only.
    pub fn __constructor(
        env: Env,
        admin: Address,
        executor: Address,
        usdc_token: Address,
        reward_token: Address,
    ) {
        for token in [&usdc_token, &reward_token] {
            if TokenClient::new(&env, token).decimals() != TOKEN_DECIMALS {
                panic_with_error!(&env, AdminError::TokenDecimals);
            }
        }
        storage::initialize(&env, &admin, &executor, &usdc_token, &reward_token);
        storage::extend_instance_to_max(&env);
    }

    /// Decides what an outage costs or earns, by the terms of now. Anybody may
    /// ask; nothing is written and nothing moves.
    ///
    /// # Security
    ///
    /// Asks for no authorization and needs none: it reads terms only.
    pub fn calculate_sla(
        env: Env,
        outage_id: Symbol,
        severity: Severity,
        mttr_minutes: u32,
    ) -> SlaResult {
        decide(&env, outage_id, severity, mttr_minutes)
    }

    /// Decides and pays, once for each id.
    ///
    /// The steps, in this order:
    ///
    /// 1. the executor's authorization, before anything else is read;
    /// 2. the marker: the same id and arguments answer the first outcome with
    ///    `replayed` true, and nothing moves. That holds while paused too, so
    ///    that whoever asks "did it pay?" always gets the answer;
    /// 3. paused, and the schema of the state;
    /// 4. the decision;
    /// 5. the payment: a penalty by `transfer_from` out of the operator's
    ///    allowance to this contract, a reward by `transfer` from the executor,
    ///    whose authorization must cover that call beneath this one;
    /// 6. the marker is written, the report anchored, the event told.
    ///
    /// A refusal at any step undoes the whole call: the id stays unused.
    ///
    /// # Arguments
    ///
    /// * `id` - names this payment for ever.
    /// * `mttr_minutes` - whole minutes; a started minute counts.
    /// * `operator` - owes a penalty.
    /// * `noc_team` - earns a reward.
    /// * `rca_hash` - SHA-256 of the root-cause report, to be anchored as well.
    #[allow(clippy::too_many_arguments)] // the host's calling convention
    pub fn execute_payment(
        env: Env,
        id: BytesN<32>,
        outage_id: Symbol,
        severity: Severity,
        mttr_minutes: u32,
        operator: Address,
        noc_team: Address,
        rca_hash: Option<BytesN<32>>,
    ) -> PaymentResult {
        let executor = require_executor(&env);
        storage::extend_instance(&env);

        let arguments: Vec<Val> = (
            outage_id.clone(),
            severity,
            mttr_minutes,
            operator.clone(),
            noc_team.clone(),
            rca_hash.clone(),
        )
            .into_val(&env);
        let function = Symbol::new(&env, "execute_payment");
        let fresh = match settlement_marker::claim(&env, &id, &function, &arguments) {
            Claim::Fresh(fresh) => fresh,
            Claim::Replay(marker) => {
                let first: Settled = marker.read_outcome(&env);
                let told = payment_result(
                    &env,
                    id,
                    outage_id,
                    severity,
                    mttr_minutes,
                    operator,
                    noc_team,
                    first,
                );
                return replay(&env, &marker, told);
            }
        };
        require_in_service(&env);

        let sla = decide(&env, outage_id.clone(), severity, mttr_minutes);
        let settled = Settled(
            sla.amount,
            sla.kind,
            executor,
            sla.rating,
            sla.threshold_minutes,
        );
        // Written before the token is called: even a token that could call back
        // would find the id used.
        fresh.settle(&env, &settled);
        let paid = payment_result(
            &env,
            id,
            outage_id,
            severity,
            mttr_minutes,
            operator,
            noc_team,
            settled,
        );
        payment::transfer(&env, &paid);
        if let Some(hash) = rca_hash {
            rca::anchor(&env, &paid.sla.outage_id, &hash);
        }
        tell(&env, &paid);
        paid
    }

    /// Kills an id that has not paid, so that it never can. Idempotent. Works
    /// while paused: it moves nothing.
    ///
    /// # Errors
    ///
    /// * `MarkerError::AlreadySettled` - the id has paid.
    pub fn void(env: Env, id: BytesN<32>) {
        require_executor(&env);
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

    /// Anchors the SHA-256 of a root-cause report and answers its version. The
    /// first stands; another hash is appended as the next version; a hash that
    /// is anchored already changes nothing. Executor only.
    ///
    /// # Errors
    ///
    /// * `SlaError::RcaFull` - the outage has sixteen versions.
    pub fn record_rca(env: Env, outage_id: Symbol, rca_hash: BytesN<32>) -> u32 {
        require_executor(&env);
        storage::extend_instance(&env);
        rca::anchor(&env, &outage_id, &rca_hash)
    }

    /// The latest version of an outage's report. Reads only.
    pub fn get_rca(env: Env, outage_id: Symbol) -> Option<RcaAnchor> {
        rca::history(&env, &outage_id).last()
    }

    /// All versions of an outage's report, oldest first. Reads only.
    pub fn get_rca_history(env: Env, outage_id: Symbol) -> Vec<RcaAnchor> {
        rca::history(&env, &outage_id)
    }

    /// Everything that is configured. Reads only.
    pub fn get_config(env: Env) -> Config {
        storage::config(&env)
    }

    /// Sets the terms of one severity. Admin only. Payments made keep theirs.
    ///
    /// # Arguments
    ///
    /// * `threshold_minutes` - 1 to 525,600.
    /// * `penalty_per_minute` - units of 10^-7 USDC, 0 to 1,000,000 USDC.
    /// * `base_reward` - units of 10^-7 token, 0 to 1,000,000,000 tokens.
    pub fn update_config(
        env: Env,
        severity: Severity,
        threshold_minutes: u32,
        penalty_per_minute: i128,
        base_reward: i128,
    ) {
        require_admin(&env);
        let after = Terms {
            base_reward,
            penalty_per_minute,
            threshold_minutes,
        };
        if let Err(error) = sla::check_terms(&after) {
            panic_with_error!(&env, error);
        }
        let before = storage::terms(&env, severity);
        storage::set_terms(&env, severity, &after);
        events::ConfigUpdated {
            severity,
            before,
            after,
        }
        .publish(&env);
    }

    /// Sets the reward bands of all severities. Admin only.
    pub fn update_bands(env: Env, bands: Bands) {
        require_admin(&env);
        if let Err(error) = sla::check_bands(&bands) {
            panic_with_error!(&env, error);
        }
        let before = storage::bands(&env);
        storage::set_bands(&env, &bands);
        events::BandsUpdated {
            before,
            after: bands,
        }
        .publish(&env);
    }

    /// Makes another account the pool and the only caller of payments. Admin
    /// only. Settled ids keep their outcomes; the new executor can replay them.
    ///
    /// # Security
    ///
    /// Whoever is named here can draw every operator's allowance, by reporting
    /// outages. Pause first, and settle or void what is under way.
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

    /// Stops payments. Replays, reads, voids and reports go on. Admin only;
    /// pausing twice changes nothing.
    pub fn pause(env: Env) {
        let admin = require_admin(&env);
        if !storage::paused(&env) {
            storage::set_paused(&env, true);
            events::Paused { admin }.publish(&env);
        }
    }

    /// Lets payments go on. Admin only; doing it twice changes nothing.
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
    /// New code can do whatever it likes with every allowance that operators
    /// gave to this contract. Give this power to a multisignature account.
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

fn require_executor(env: &Env) -> Address {
    let executor = storage::executor(env);
    executor.require_auth();
    executor
}

fn require_admin(env: &Env) -> Address {
    let admin = storage::admin(env);
    admin.require_auth();
    admin
}

fn require_in_service(env: &Env) {
    if storage::schema(env) != SCHEMA {
        panic_with_error!(env, AdminError::SchemaMismatch);
    }
    if storage::paused(env) {
        panic_with_error!(env, AdminError::Paused);
    }
}

fn decide(env: &Env, outage_id: Symbol, severity: Severity, mttr_minutes: u32) -> SlaResult {
    let terms = storage::terms(env, severity);
    let bands = storage::bands(env);
    match sla::assess(&terms, &bands, mttr_minutes) {
        Ok(assessment) => SlaResult {
            amount: assessment.amount,
            kind: assessment.kind,
            mttr_minutes,
            outage_id,
            rating: assessment.rating,
            severity,
            threshold_minutes: terms.threshold_minutes,
            violated: assessment.kind == PaymentKind::Penalty,
        },
        Err(error) => panic_with_error!(env, error),
    }
}

/// The payment that a marker and the arguments of its call describe.
#[allow(clippy::too_many_arguments)] // the arguments of the call
fn payment_result(
    env: &Env,
    id: BytesN<32>,
    outage_id: Symbol,
    severity: Severity,
    mttr_minutes: u32,
    operator: Address,
    noc_team: Address,
    Settled(amount, kind, pool, rating, threshold_minutes): Settled,
) -> PaymentResult {
    let (token, from, to) = match kind {
        PaymentKind::Penalty => (storage::usdc_token(env), operator, pool),
        PaymentKind::Reward => (storage::reward_token(env), pool, noc_team),
    };
    PaymentResult {
        amount,
        from,
        id,
        kind,
        replayed: false,
        sla: SlaResult {
            amount,
            kind,
            mttr_minutes,
            outage_id,
            rating,
            severity,
            threshold_minutes,
            violated: mttr_minutes > threshold_minutes,
        },
        to,
        token,
    }
}

fn replay(env: &Env, marker: &Marker, first: PaymentResult) -> PaymentResult {
    events::Replayed {
        id: first.id.clone(),
        outage_id: first.sla.outage_id.clone(),
        settled_ledger: marker.ledger,
    }
    .publish(env);
    PaymentResult {
        replayed: true,
        ..first
    }
}

fn tell(env: &Env, paid: &PaymentResult) {
    let PaymentResult {
        amount,
        from,
        id,
        kind,
        sla,
        to,
        token,
        ..
    } = paid.clone();
    match kind {
        PaymentKind::Penalty => events::PenaltyDrawn {
            id,
            outage_id: sla.outage_id,
            amount,
            from,
            mttr_minutes: sla.mttr_minutes,
            severity: sla.severity,
            to,
            token,
        }
        .publish(env),
        PaymentKind::Reward => events::RewardPaid {
            id,
            outage_id: sla.outage_id,
            amount,
            from,
            mttr_minutes: sla.mttr_minutes,
            rating: sla.rating,
            severity: sla.severity,
            to,
            token,
        }
        .publish(env),
    }
}
