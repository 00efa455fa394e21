//! Contract calls, extensions of time to live, and restoring.

use std::panic::{catch_unwind, AssertUnwindSafe};

use soroban_env_host::budget::Budget;
use soroban_env_host::e2e_invoke::{
    self, entry_size_for_rent, InvokeHostFunctionResult as HostResult, TtlLedgerEntryMeta,
};
use soroban_env_host::fees::{compute_rent_fee, LedgerEntryRentChange};
use soroban_env_host::HostError;
use stellar_xdr::{
    ContractDataDurability, ContractEvent, ExtendFootprintTtlOp, ExtendFootprintTtlResult, Hash,
    HostFunction, InvokeHostFunctionOp, InvokeHostFunctionResult,
    InvokeHostFunctionSuccessPreImage, LedgerEntry, LedgerKey, OperationResult,
    OperationResultTr as R, RestoreFootprintResult, ScVal, SorobanResources,
    SorobanTransactionDataExt,
};

use super::{Outcome, ResourceCharge, Scope};
use crate::events;
use crate::state::{durability, Stored};
use crate::tx::Tx;
use crate::validate::{self, LedgerContext};
use crate::xdr;

/// Whether a key's entry is archived, not lost, when its time is over.
pub fn is_persistent(key: &LedgerKey) -> bool {
    durability(key) == Some(ContractDataDurability::Persistent)
}

fn invoke_failed(result: InvokeHostFunctionResult) -> OperationResult {
    OperationResult::OpInner(R::InvokeHostFunction(result))
}

pub(super) fn check_invoke(
    op: &InvokeHostFunctionOp,
    ctx: &LedgerContext,
) -> Result<(), OperationResult> {
    let malformed = match &op.host_function {
        HostFunction::UploadContractWasm(wasm) => {
            wasm.is_empty() || wasm.len() > ctx.network.limits.contract_size_bytes_max as usize
        }
        HostFunction::CreateContract(create) => invalid_asset(&create.contract_id_preimage),
        HostFunction::CreateContractV2(create) => invalid_asset(&create.contract_id_preimage),
        HostFunction::InvokeContract(_) => false,
    };
    if malformed {
        return Err(invoke_failed(InvokeHostFunctionResult::Malformed));
    }
    Ok(())
}

fn invalid_asset(preimage: &stellar_xdr::ContractIdPreimage) -> bool {
    match preimage {
        stellar_xdr::ContractIdPreimage::Asset(asset) => !xdr::asset_is_valid(asset),
        stellar_xdr::ContractIdPreimage::Address(_) => false,
    }
}

/// Entries as the host takes them: encoded, with what rent needs to know.
type HostEntry = (Option<Vec<u8>>, Option<TtlLedgerEntryMeta>);

struct Loaded {
    entries: Vec<HostEntry>,
    restored: Vec<u32>,
}

pub(super) fn invoke(scope: &mut Scope, op: &InvokeHostFunctionOp) -> Outcome {
    let Some(data) = scope.tx.soroban_data().cloned() else {
        return Err(invoke_failed(InvokeHostFunctionResult::Malformed));
    };
    // Consumed even where the call fails: only the refundable part comes back.
    scope.trace.charge = Some(charge_of(scope, 0, 0));
    let resources = &data.resources;
    let archived: &[u32] = match &data.ext {
        SorobanTransactionDataExt::V0 => &[],
        SorobanTransactionDataExt::V1(e) => &e.archived_soroban_entries,
    };
    let loaded = load(scope, resources, archived).map_err(invoke_failed)?;
    let result = call_host(scope, op, resources, &loaded)?;
    settle(scope, resources, &loaded, result)
}

fn load(
    scope: &mut Scope,
    resources: &SorobanResources,
    archived: &[u32],
) -> Result<Loaded, InvokeHostFunctionResult> {
    let mut loaded = Loaded {
        entries: Vec::new(),
        restored: Vec::new(),
    };
    let mut disk_read_bytes = 0_u64;
    let footprint = &resources.footprint;
    let read_only = footprint.read_only.iter().map(|k| (None, k));
    let read_write = footprint
        .read_write
        .iter()
        .enumerate()
        .map(|(i, k)| (Some(i as u32), k));
    for (index, key) in read_only.chain(read_write) {
        let Some(stored) = scope.txn.state().get(key).cloned() else {
            loaded.entries.push((None, None));
            continue;
        };
        let encoded = xdr::bytes(&stored.entry);
        let size = encoded.len();
        let Some(live_until) = stored.live_until else {
            disk_read_bytes += size as u64;
            loaded.entries.push((Some(encoded), None));
            continue;
        };
        if live_until < scope.ctx.seq {
            if !is_persistent(key) {
                loaded.entries.push((None, None));
                continue;
            }
            match index.filter(|i| archived.contains(i)) {
                Some(i) => {
                    disk_read_bytes += size as u64;
                    loaded.restored.push(i);
                }
                None => {
                    scope
                        .trace
                        .diagnostics
                        .push(events::archived_entry(key, scope.tx));
                    return Err(InvokeHostFunctionResult::EntryArchived);
                }
            }
        }
        let meta = TtlLedgerEntryMeta {
            live_until_ledger: live_until,
            entry_size_for_rent: rent_size(scope, &stored, size)
                .map_err(|_| InvokeHostFunctionResult::Trapped)?,
        };
        loaded.entries.push((Some(encoded), Some(meta)));
    }
    if disk_read_bytes > u64::from(resources.disk_read_bytes) {
        return Err(InvokeHostFunctionResult::ResourceLimitExceeded);
    }
    Ok(loaded)
}

fn rent_size(scope: &Scope, stored: &Stored, size: usize) -> Result<u32, HostError> {
    let budget = scope.ctx.network.budget(u64::MAX)?;
    entry_size_for_rent(&budget, &stored.entry, size as u32)
}

fn call_host(
    scope: &mut Scope,
    op: &InvokeHostFunctionOp,
    resources: &SorobanResources,
    loaded: &Loaded,
) -> Result<HostResult, OperationResult> {
    let trapped = || invoke_failed(InvokeHostFunctionResult::Trapped);
    let instructions = u64::from(resources.instructions);
    let budget = scope
        .ctx
        .network
        .budget(instructions)
        .map_err(|_| trapped())?;
    let info =
        scope
            .ctx
            .network
            .ledger_info(scope.ctx.network_id, scope.ctx.seq, scope.ctx.close_time);
    let auth: Vec<Vec<u8>> = op.auth.iter().map(xdr::bytes).collect();
    let mut diagnostics = Vec::new();
    // Restored entries enter as live ones: the host then charges their rent anew.
    let entries = live_entries(scope, resources, loaded);
    // A panic of the host fails the call, not the ledger.
    let called = catch_unwind(AssertUnwindSafe(|| {
        e2e_invoke::invoke_host_function(
            &budget,
            true,
            xdr::bytes(&op.host_function),
            xdr::bytes(resources),
            &loaded.restored,
            xdr::bytes(&scope.source),
            auth.into_iter(),
            info,
            entries.into_iter(),
            scope.seed.to_vec(),
            &mut diagnostics,
            None,
            Some(scope.host.cache()),
        )
    }))
    .map_err(|_| trapped())?;
    scope.trace.diagnostics.extend(diagnostics);
    match called {
        Ok(result) if result.encoded_invoke_result.is_ok() => Ok(result),
        Ok(_) | Err(_) => Err(invoke_failed(failure_kind(scope, &budget, instructions))),
    }
}

fn live_entries(scope: &Scope, resources: &SorobanResources, loaded: &Loaded) -> Vec<HostEntry> {
    let least = scope
        .ctx
        .network
        .config
        .min_persistent_entry_ttl
        .saturating_sub(1)
        .saturating_add(scope.ctx.seq);
    let read_only = resources.footprint.read_only.len();
    let mut entries = loaded.entries.clone();
    for index in &loaded.restored {
        if let Some((_, Some(meta))) = entries.get_mut(read_only + *index as usize) {
            meta.live_until_ledger = least;
        }
    }
    entries
}

fn failure_kind(scope: &Scope, budget: &Budget, instructions: u64) -> InvokeHostFunctionResult {
    let cpu = budget.get_cpu_insns_consumed().unwrap_or(u64::MAX);
    let memory = budget.get_mem_bytes_consumed().unwrap_or(u64::MAX);
    if cpu > instructions || memory > u64::from(scope.ctx.network.config.tx_memory_limit) {
        InvokeHostFunctionResult::ResourceLimitExceeded
    } else {
        InvokeHostFunctionResult::Trapped
    }
}

fn settle(
    scope: &mut Scope,
    resources: &SorobanResources,
    loaded: &Loaded,
    result: HostResult,
) -> Outcome {
    use InvokeHostFunctionResult as I;
    let limits = scope.ctx.network.limits.clone();
    let encoded_value = result
        .encoded_invoke_result
        .map_err(|_| invoke_failed(I::Trapped))?;
    let written: u64 = result
        .ledger_changes
        .iter()
        .filter_map(|c| c.encoded_new_value.as_ref())
        .map(|v| v.len() as u64)
        .sum();
    let entries_fit = result.ledger_changes.iter().all(|c| {
        let size = c.encoded_new_value.as_ref().map_or(0, Vec::len);
        let code = matches!(
            c.ttl_change.as_ref().map(|t| t.entry_type),
            Some(stellar_xdr::LedgerEntryType::ContractCode)
        );
        let max = if code {
            // The code itself is bounded at upload; the entry adds its frame.
            limits.contract_size_bytes_max + 1_024
        } else {
            limits.entry_size_bytes_max
        };
        size <= max as usize
    });
    let events_size = result
        .encoded_contract_events
        .iter()
        .map(Vec::len)
        .sum::<usize>()
        + encoded_value.len();
    if written > u64::from(resources.write_bytes)
        || !entries_fit
        || events_size > limits.events_size_bytes_max as usize
    {
        return Err(invoke_failed(I::ResourceLimitExceeded));
    }
    let rent_changes = e2e_invoke::extract_rent_changes(&result.ledger_changes);
    pay_refundable(scope, events_size as u32, &rent_changes)
        .ok_or_else(|| invoke_failed(I::InsufficientRefundableFee))?;
    write_changes(scope, resources, loaded, &result.ledger_changes)
        .map_err(|_| invoke_failed(I::Trapped))?;
    let value: ScVal = xdr::from_bytes(&encoded_value).map_err(|_| invoke_failed(I::Trapped))?;
    let mut contract_events: Vec<ContractEvent> = Vec::new();
    for event in &result.encoded_contract_events {
        contract_events.push(xdr::from_bytes(event).map_err(|_| invoke_failed(I::Trapped))?);
    }
    let image = InvokeHostFunctionSuccessPreImage {
        return_value: value.clone(),
        events: contract_events
            .clone()
            .try_into()
            .map_err(|_| invoke_failed(I::Trapped))?,
    };
    let hash: Hash = xdr::hash_of(&image);
    scope.trace.return_value = Some(value);
    scope.trace.events.extend(contract_events);
    Ok(R::InvokeHostFunction(I::Success(hash)))
}

fn write_changes(
    scope: &mut Scope,
    resources: &SorobanResources,
    loaded: &Loaded,
    changes: &[e2e_invoke::LedgerEntryChange],
) -> Result<(), stellar_xdr::Error> {
    let restored: Vec<&LedgerKey> = loaded
        .restored
        .iter()
        .filter_map(|i| resources.footprint.read_write.get(*i as usize))
        .collect();
    for change in changes {
        let key: LedgerKey = xdr::from_bytes(&change.encoded_key)?;
        let live_until = change.ttl_change.as_ref().map(|t| t.new_live_until_ledger);
        if restored.contains(&&key) {
            scope.txn.restore(&key, live_until.unwrap_or(scope.ctx.seq));
        }
        if let Some(encoded) = &change.encoded_new_value {
            let entry: LedgerEntry = xdr::from_bytes(encoded)?;
            match live_until {
                Some(live_until) => {
                    let unchanged = scope
                        .txn
                        .state()
                        .get(&key)
                        .is_some_and(|old| old.entry.data == entry.data);
                    if unchanged
                        && scope.txn.state().get(&key).and_then(|o| o.live_until)
                            == Some(live_until)
                    {
                        continue;
                    }
                    scope.txn.put_contract_entry(entry, live_until);
                    if let Some(stored) = scope.txn.state().get(&key) {
                        scope.host.add(&key, stored);
                    }
                }
                None => scope.txn.put(entry.data, Some(entry.ext)),
            }
        } else if !change.read_only {
            if scope.txn.state().get(&key).is_some() {
                scope.txn.remove(&key);
            }
        } else if let (Some(live_until), Some(old)) = (live_until, scope.txn.state().get(&key)) {
            if old.live_until < Some(live_until) {
                scope.txn.set_live_until(&key, live_until);
            }
        }
    }
    Ok(())
}

fn charge_of(scope: &Scope, events_size: u32, rent: i64) -> ResourceCharge {
    let (non_refundable, refundable) =
        validate::resource_fees(scope.tx, scope.ctx, events_size).unwrap_or_default();
    ResourceCharge {
        non_refundable,
        refundable,
        rent,
    }
}

/// Takes rent and events from the declared refundable fee; `None` where it does
/// not reach.
fn pay_refundable(
    scope: &mut Scope,
    events_size: u32,
    rent_changes: &[LedgerEntryRentChange],
) -> Option<()> {
    let rent = compute_rent_fee(
        rent_changes,
        &scope.ctx.network.config.rent_fee_configuration,
        scope.ctx.seq,
    );
    let charge = charge_of(scope, events_size, rent);
    let declared = scope.tx.resource_fee() - charge.non_refundable;
    if charge.refundable.saturating_add(rent) > declared {
        return None;
    }
    scope.trace.charge = Some(charge);
    Some(())
}

fn extend_failed(result: ExtendFootprintTtlResult) -> OperationResult {
    OperationResult::OpInner(R::ExtendFootprintTtl(result))
}

pub(super) fn check_extend(
    op: &ExtendFootprintTtlOp,
    tx: &Tx,
    ctx: &LedgerContext,
) -> Result<(), OperationResult> {
    let malformed = tx.soroban_data().is_none_or(|d| {
        let footprint = &d.resources.footprint;
        !footprint.read_write.is_empty()
            || footprint.read_only.iter().any(|k| durability(k).is_none())
    });
    if malformed || op.extend_to > ctx.network.config.max_entry_ttl.saturating_sub(1) {
        return Err(extend_failed(ExtendFootprintTtlResult::Malformed));
    }
    Ok(())
}

pub(super) fn extend_ttl(scope: &mut Scope, op: &ExtendFootprintTtlOp) -> Outcome {
    use ExtendFootprintTtlResult as E;
    let Some(data) = scope.tx.soroban_data().cloned() else {
        return Err(extend_failed(E::Malformed));
    };
    scope.trace.charge = Some(charge_of(scope, 0, 0));
    let new_live_until = scope.ctx.seq.saturating_add(op.extend_to);
    let mut changes = Vec::new();
    for key in data.resources.footprint.read_only.iter() {
        let Some(stored) = scope.txn.state().get(key).cloned() else {
            continue;
        };
        // What is archived or gone is left alone; so is what lives long enough.
        let live_until = stored.live_until.unwrap_or(0);
        if live_until < scope.ctx.seq || live_until >= new_live_until {
            continue;
        }
        let size = rent_size(scope, &stored, xdr::bytes(&stored.entry).len())
            .map_err(|_| extend_failed(E::ResourceLimitExceeded))?;
        changes.push(LedgerEntryRentChange {
            is_persistent: is_persistent(key),
            is_code_entry: matches!(key, LedgerKey::ContractCode(_)),
            old_size_bytes: size,
            new_size_bytes: size,
            old_live_until_ledger: live_until,
            new_live_until_ledger: new_live_until,
        });
        scope.txn.set_live_until(key, new_live_until);
    }
    pay_refundable(scope, 0, &changes)
        .ok_or_else(|| extend_failed(E::InsufficientRefundableFee))?;
    Ok(R::ExtendFootprintTtl(E::Success))
}

fn restore_failed(result: RestoreFootprintResult) -> OperationResult {
    OperationResult::OpInner(R::RestoreFootprint(result))
}

pub(super) fn check_restore(tx: &Tx) -> Result<(), OperationResult> {
    let malformed = tx.soroban_data().is_none_or(|d| {
        let footprint = &d.resources.footprint;
        !footprint.read_only.is_empty() || footprint.read_write.iter().any(|k| !is_persistent(k))
    });
    if malformed {
        return Err(restore_failed(RestoreFootprintResult::Malformed));
    }
    Ok(())
}

pub(super) fn restore(scope: &mut Scope) -> Outcome {
    use RestoreFootprintResult as F;
    let Some(data) = scope.tx.soroban_data().cloned() else {
        return Err(restore_failed(F::Malformed));
    };
    scope.trace.charge = Some(charge_of(scope, 0, 0));
    let live_until = scope
        .ctx
        .seq
        .saturating_add(scope.ctx.network.config.min_persistent_entry_ttl - 1);
    let mut changes = Vec::new();
    let mut bytes = 0_u64;
    for key in data.resources.footprint.read_write.iter() {
        let Some(stored) = scope.txn.state().get(key).cloned() else {
            continue;
        };
        if stored.live_until >= Some(scope.ctx.seq) {
            continue;
        }
        let encoded = xdr::bytes(&stored.entry);
        bytes += encoded.len() as u64;
        let size = rent_size(scope, &stored, encoded.len())
            .map_err(|_| restore_failed(F::ResourceLimitExceeded))?;
        changes.push(LedgerEntryRentChange {
            is_persistent: true,
            is_code_entry: matches!(key, LedgerKey::ContractCode(_)),
            old_size_bytes: 0,
            new_size_bytes: size,
            old_live_until_ledger: 0,
            new_live_until_ledger: live_until,
        });
        scope.txn.restore(key, live_until);
    }
    let resources = &data.resources;
    if bytes > u64::from(resources.disk_read_bytes) || bytes > u64::from(resources.write_bytes) {
        return Err(restore_failed(F::ResourceLimitExceeded));
    }
    pay_refundable(scope, 0, &changes)
        .ok_or_else(|| restore_failed(F::InsufficientRefundableFee))?;
    Ok(R::RestoreFootprint(F::Success))
}
