//! Simulation, on a thread of its own over a snapshot: it neither waits for a
//! close nor delays one.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{json, Value};
use soroban_env_host::e2e_invoke::RecordingInvocationAuthMode as AuthMode;
use soroban_env_host::storage::{EntryWithLiveUntil, SnapshotSource};
use soroban_env_host::{HostError, LedgerInfo};
use soroban_simulation::simulation::{
    simulate_extend_ttl_op, simulate_invoke_host_function_op, simulate_restore_op, LedgerEntryDiff,
    SimulationAdjustmentConfig,
};
use stellar_xdr::{
    AccountId, InvokeHostFunctionOp, LedgerKey, OperationBody, SorobanTransactionData,
    TransactionEnvelope,
};

use super::{check_format, theft, Answer, Rpc, RpcError};
use crate::chain::View;
use crate::config::Network;
use crate::faults::{Hit, Kind};
use crate::node::STACK_BYTES;
use crate::state::State;
use crate::tx::Tx;
use crate::xdr;

#[derive(Deserialize, Default, Clone)]
#[serde(rename_all = "camelCase")]
struct ResourceConfig {
    instruction_leeway: Option<u32>,
    // The Python SDK writes it so.
    #[serde(rename = "instructionLeeWay")]
    instruction_lee_way: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Simulate {
    transaction: String,
    #[serde(default)]
    resource_config: ResourceConfig,
    auth_mode: Option<String>,
    #[serde(default)]
    use_upgraded_auth: bool,
    xdr_format: Option<String>,
}

/// A ledger's entries for the host, which wants them counted, not shared.
pub(crate) struct Snapshot(pub(crate) State);

impl SnapshotSource for Snapshot {
    fn get(&self, key: &Rc<LedgerKey>) -> Result<Option<EntryWithLiveUntil>, HostError> {
        Ok(self
            .0
            .get(key)
            .map(|s| (Rc::new(s.entry.clone()), s.live_until)))
    }
}

pub(super) async fn simulate(rpc: &Rpc, view: View, params: Simulate) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    let envelope: TransactionEnvelope = xdr::from_b64(&params.transaction)
        .map_err(|e| RpcError::params(format!("could not unmarshal transaction: {e}")))?;
    let network_id = rpc.node.network_id;
    let tx = Tx::new(envelope, &network_id).map_err(RpcError::params)?;
    let hit = rpc
        .node
        .faults
        .take(Kind::HostileSimulation, "simulateTransaction");
    let _permit = rpc
        .simulations
        .acquire()
        .await
        .map_err(|_| RpcError::internal("the ledger has stopped"))?;
    let (reply, answer) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("simulation".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let job = Job {
                view,
                network_id,
                tx,
                params,
                hit,
            };
            let result = catch_unwind(AssertUnwindSafe(|| job.run()));
            let _ = reply.send(result.unwrap_or_else(|_| {
                Err(RpcError::internal("the host panicked during simulation"))
            }));
        })
        .map_err(|e| RpcError::internal(e.to_string()))?;
    answer
        .await
        .map_err(|_| RpcError::internal("the simulation ended without an answer"))?
}

struct Job {
    view: View,
    network_id: [u8; 32],
    tx: Tx,
    params: Simulate,
    hit: Option<Hit>,
}

impl Job {
    fn run(&self) -> Answer {
        let latest = self.view.latest.seq();
        match self.simulate() {
            Ok(mut out) => {
                out["latestLedger"] = json!(latest);
                Ok(out)
            }
            // A failed simulation is a result, not an error of the RPC.
            Err(error) => Ok(json!({"error": error, "latestLedger": latest})),
        }
    }

    fn simulate(&self) -> Result<Value, String> {
        let [op] = self.tx.operations() else {
            return Err("Transaction contains more than one operation".into());
        };
        let source = self.tx.operation_source(op);
        let network = Network::load(&self.view.state)?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs())
            .max(self.view.latest.close_time());
        let info = network.ledger_info(self.network_id, self.view.latest.seq(), now);
        let snapshot = Rc::new(Snapshot(self.view.state.clone()));
        let adjustment = self.adjustment();
        let footprint = || {
            self.tx
                .soroban_data()
                .map(|d| d.resources.footprint.clone())
                .ok_or_else(|| "To perform a SimulateTransaction for ExtendFootprintTtl or RestoreFootprint operations, SorobanTransactionData must be provided".to_owned())
        };
        match &op.body {
            OperationBody::InvokeHostFunction(call) => {
                self.invoke(call, &source, snapshot, &network, &adjustment, &info)
            }
            OperationBody::ExtendFootprintTtl(extend) => {
                let result = simulate_extend_ttl_op(
                    snapshot.as_ref(),
                    &network.config,
                    &adjustment,
                    &info,
                    &footprint()?.read_only,
                    extend.extend_to,
                )
                .map_err(|e| format!("{e:#}"))?;
                Ok(resources(&result.transaction_data))
            }
            OperationBody::RestoreFootprint(_) => {
                let result = simulate_restore_op(
                    snapshot.as_ref(),
                    &network.config,
                    &adjustment,
                    &info,
                    &footprint()?.read_write,
                )
                .map_err(|e| format!("{e:#}"))?;
                Ok(resources(&result.transaction_data))
            }
            other => Err(format!(
                "Transaction contains unsupported operation type: {}",
                other.name()
            )),
        }
    }

    fn adjustment(&self) -> SimulationAdjustmentConfig {
        let mut adjustment = SimulationAdjustmentConfig::default_adjustment();
        let config = &self.params.resource_config;
        if let Some(leeway) = config.instruction_leeway.or(config.instruction_lee_way) {
            let factor = &mut adjustment.instructions.additive_factor;
            *factor = (*factor).max(leeway);
        }
        adjustment
    }

    fn auth_mode(&self, call: &InvokeHostFunctionOp) -> Result<AuthMode, String> {
        let v2 = self.params.use_upgraded_auth;
        let enforce = || AuthMode::Enforcing(call.auth.to_vec());
        let record = |root_only| {
            if call.auth.is_empty() {
                Ok(AuthMode::recording(root_only, v2))
            } else {
                Err("cannot record authorization where entries are given".to_owned())
            }
        };
        match self.params.auth_mode.as_deref() {
            None | Some("") if call.auth.is_empty() => record(true),
            None | Some("" | "enforce") => Ok(enforce()),
            Some("record") => record(true),
            Some("record_allow_nonroot") => record(false),
            Some(other) => Err(format!(
                "unknown authMode {other:?}: enforce, record or record_allow_nonroot"
            )),
        }
    }

    fn invoke(
        &self,
        call: &InvokeHostFunctionOp,
        source: &AccountId,
        snapshot: Rc<Snapshot>,
        network: &Network,
        adjustment: &SimulationAdjustmentConfig,
        info: &LedgerInfo,
    ) -> Result<Value, String> {
        let seed = xdr::sha256(self.tx.inner_hash);
        let result = simulate_invoke_host_function_op(
            snapshot,
            &network.config,
            adjustment,
            info,
            call.host_function.clone(),
            self.auth_mode(call)?,
            source,
            seed,
            true,
        )
        .map_err(|e| format!("{e:#}"))?;
        let events: Vec<String> = result.diagnostic_events.iter().map(xdr::b64).collect();
        let (value, data) = match (&result.invoke_result, &result.transaction_data) {
            (Ok(value), Some(data)) => (value, data),
            (Err(e), _) => {
                return Ok(
                    json!({"error": failure(e, &result.diagnostic_events), "events": events}),
                )
            }
            (Ok(_), None) => return Err("the simulation gave no resources".into()),
        };
        let mut auth = result.auth.clone();
        if let Some(hit) = &self.hit {
            theft::add(&mut auth, hit, source, &self.network_id);
        }
        let mut out = resources(data);
        out["events"] = json!(events);
        out["results"] = json!([{
            "auth": auth.iter().map(xdr::b64).collect::<Vec<_>>(),
            "xdr": xdr::b64(value),
        }]);
        out["stateChanges"] = result.modified_entries.iter().filter_map(change).collect();
        out["cost"] = json!({
            "cpuInsns": result.simulated_instructions.to_string(),
            "memBytes": result.simulated_memory.to_string(),
        });
        Ok(out)
    }
}

/// The host's error with its event log, newest first, as clients parse it.
fn failure(error: &HostError, events: &[stellar_xdr::DiagnosticEvent]) -> String {
    let mut text = format!("HostError: {:?}", error.error);
    if !events.is_empty() {
        text.push_str("\n\nEvent log (newest first):\n");
        for (i, event) in events.iter().rev().enumerate() {
            let shown = crate::explorer::value::event_text(&event.event);
            text.push_str(&format!("   {i}: {shown}\n"));
        }
    }
    text
}

fn resources(data: &SorobanTransactionData) -> Value {
    json!({
        "transactionData": xdr::b64(data),
        "minResourceFee": data.resource_fee.to_string(),
    })
}

fn change(diff: &LedgerEntryDiff) -> Option<Value> {
    let entry = diff.state_before.as_ref().or(diff.state_after.as_ref())?;
    let kind = match (&diff.state_before, &diff.state_after) {
        (None, _) => "created",
        (Some(_), Some(_)) => "updated",
        (Some(_), None) => "deleted",
    };
    Some(json!({
        "type": kind,
        "key": xdr::b64(&entry.to_key()),
        "before": diff.state_before.as_ref().map(xdr::b64),
        "after": diff.state_after.as_ref().map(xdr::b64),
    }))
}
