//! The network's settings: config entries at genesis, and the same read back
//! from a state. Values are the public test network's where they are known.

use std::rc::Rc;

use soroban_env_host::budget::Budget;
use soroban_env_host::storage::{EntryWithLiveUntil, SnapshotSource};
use soroban_env_host::{HostError, LedgerInfo};
use soroban_simulation::NetworkConfig;
use stellar_xdr::{
    ConfigSettingContractBandwidthV0, ConfigSettingContractComputeV0,
    ConfigSettingContractEventsV0, ConfigSettingContractExecutionLanesV0,
    ConfigSettingContractHistoricalDataV0, ConfigSettingContractLedgerCostExtV0,
    ConfigSettingContractLedgerCostV0, ConfigSettingContractParallelComputeV0, ConfigSettingEntry,
    ConfigSettingId, ConfigSettingScpTiming, ContractCostParamEntry, ContractCostParams,
    EvictionIterator, ExtensionPoint, FreezeBypassTxs, FreezeBypassTxsDelta, FrozenLedgerKeys,
    FrozenLedgerKeysDelta, LedgerKey, StateArchivalSettings,
};

use crate::cost_model::COST_MODEL;
use crate::state::State;

/// The one protocol that the pinned host speaks.
pub const PROTOCOL_VERSION: u32 = 28;
/// Stroops an operation costs at least.
pub const BASE_FEE: u32 = 100;
/// Stroops reserved per account subentry.
pub const BASE_RESERVE: u32 = 5_000_000;
/// Operations (classic) that one ledger takes.
pub const MAX_TX_SET_OPERATIONS: u32 = 1_000;
/// Contract transactions that one ledger takes: far above the public
/// network's, so that the machine is the limit.
pub const MAX_SOROBAN_TXS: u32 = 5_000;
/// All lumens there are, in stroops: what the root account starts with.
pub const TOTAL_COINS: i64 = 1_000_000_000_000_000_000;

fn cost_params(pick: impl Fn(&crate::cost_model::CostRow) -> (i64, i64)) -> ContractCostParams {
    let entries: Vec<_> = COST_MODEL
        .iter()
        .map(|row| {
            let (const_term, linear_term) = pick(row);
            ContractCostParamEntry {
                ext: ExtensionPoint::V0,
                const_term,
                linear_term,
            }
        })
        .collect();
    ContractCostParams(entries.try_into().expect("the cost model fits"))
}

/// A budget for work that no transaction pays for.
pub fn unlimited_budget() -> Result<Budget, HostError> {
    Budget::try_from_configs(
        u64::MAX,
        u64::MAX,
        cost_params(|r| (r.1, r.2)),
        cost_params(|r| (r.3, r.4)),
    )
}

/// All config setting entries of a new network.
pub fn genesis_settings(close_ms: u32) -> Vec<ConfigSettingEntry> {
    use ConfigSettingEntry as E;
    vec![
        E::ContractMaxSizeBytes(131_072),
        E::ContractComputeV0(ConfigSettingContractComputeV0 {
            ledger_max_instructions: 500_000_000_000,
            tx_max_instructions: 100_000_000,
            fee_rate_per_instructions_increment: 25,
            tx_memory_limit: 41_943_040,
        }),
        E::ContractLedgerCostV0(ConfigSettingContractLedgerCostV0 {
            ledger_max_disk_read_entries: 1_000_000,
            ledger_max_disk_read_bytes: 1_000_000_000,
            ledger_max_write_ledger_entries: 1_000_000,
            ledger_max_write_bytes: 1_000_000_000,
            tx_max_disk_read_entries: 200,
            tx_max_disk_read_bytes: 200_000,
            tx_max_write_ledger_entries: 200,
            tx_max_write_bytes: 132_096,
            fee_disk_read_ledger_entry: 6_250,
            fee_write_ledger_entry: 10_000,
            fee_disk_read1_kb: 1_786,
            soroban_state_target_size_bytes: 3_000_000_000,
            rent_fee1_kb_soroban_state_size_low: -17_000,
            rent_fee1_kb_soroban_state_size_high: 10_000,
            soroban_state_rent_fee_growth_factor: 5_000,
        }),
        E::ContractHistoricalDataV0(ConfigSettingContractHistoricalDataV0 {
            fee_historical1_kb: 16_235,
        }),
        E::ContractEventsV0(ConfigSettingContractEventsV0 {
            tx_max_contract_events_size_bytes: 16_384,
            fee_contract_events1_kb: 10_000,
        }),
        E::ContractBandwidthV0(ConfigSettingContractBandwidthV0 {
            ledger_max_txs_size_bytes: 100_000_000,
            tx_max_size_bytes: 132_096,
            fee_tx_size1_kb: 1_624,
        }),
        E::ContractCostParamsCpuInstructions(cost_params(|r| (r.1, r.2))),
        E::ContractCostParamsMemoryBytes(cost_params(|r| (r.3, r.4))),
        E::ContractDataKeySizeBytes(250),
        E::ContractDataEntrySizeBytes(65_536),
        E::StateArchival(StateArchivalSettings {
            max_entry_ttl: 3_110_400,
            min_temporary_ttl: 720,
            min_persistent_ttl: 120_960,
            persistent_rent_rate_denominator: 1_215,
            temp_rent_rate_denominator: 2_430,
            max_entries_to_archive: 1_000,
            live_soroban_state_size_window_sample_size: 30,
            live_soroban_state_size_window_sample_period: 64,
            eviction_scan_size: 100_000,
            starting_eviction_scan_level: 7,
        }),
        E::ContractExecutionLanes(ConfigSettingContractExecutionLanesV0 {
            ledger_max_tx_count: MAX_SOROBAN_TXS,
        }),
        E::LiveSorobanStateSizeWindow(vec![0; 30].try_into().expect("the window fits")),
        E::EvictionIterator(EvictionIterator {
            bucket_list_level: 7,
            is_curr_bucket: true,
            bucket_file_offset: 0,
        }),
        E::ContractParallelComputeV0(ConfigSettingContractParallelComputeV0 {
            ledger_max_dependent_tx_clusters: 1,
        }),
        E::ContractLedgerCostExtV0(ConfigSettingContractLedgerCostExtV0 {
            tx_max_footprint_entries: 400,
            fee_write1_kb: 875,
        }),
        E::ScpTiming(ConfigSettingScpTiming {
            ledger_target_close_time_milliseconds: close_ms,
            nomination_timeout_initial_milliseconds: 1_000,
            nomination_timeout_increment_milliseconds: 1_000,
            ballot_timeout_initial_milliseconds: 1_000,
            ballot_timeout_increment_milliseconds: 1_000,
        }),
        E::FrozenLedgerKeys(FrozenLedgerKeys {
            keys: Default::default(),
        }),
        E::FrozenLedgerKeysDelta(FrozenLedgerKeysDelta {
            keys_to_freeze: Default::default(),
            keys_to_unfreeze: Default::default(),
        }),
        E::FreezeBypassTxs(FreezeBypassTxs {
            tx_hashes: Default::default(),
        }),
        E::FreezeBypassTxsDelta(FreezeBypassTxsDelta {
            add_txs: Default::default(),
            remove_txs: Default::default(),
        }),
    ]
}

/// Limits of one contract transaction that the host does not check by itself.
#[derive(Clone, Debug)]
pub struct SorobanLimits {
    /// Largest uploaded code.
    pub contract_size_bytes_max: u32,
    /// Largest key of contract data.
    pub key_size_bytes_max: u32,
    /// Largest contract data entry.
    pub entry_size_bytes_max: u32,
    /// Largest envelope.
    pub tx_size_bytes_max: u32,
    /// Largest events with the return value.
    pub events_size_bytes_max: u32,
    /// Entries read from disk (classic, and archived ones).
    pub disk_read_entries_max: u32,
    /// Bytes of these.
    pub disk_read_bytes_max: u32,
    /// Entries written.
    pub write_entries_max: u32,
    /// Bytes written.
    pub write_bytes_max: u32,
    /// Entries of both kinds.
    pub footprint_entries_max: u32,
}

/// The settings, read back from a state.
pub struct Network {
    /// What simulation and the fee rules take.
    pub config: NetworkConfig,
    /// What the ledger checks itself.
    pub limits: SorobanLimits,
}

struct SettingsSource<'a>(&'a State);

impl SnapshotSource for SettingsSource<'_> {
    fn get(&self, key: &Rc<LedgerKey>) -> Result<Option<EntryWithLiveUntil>, HostError> {
        Ok(self
            .0
            .get(key)
            .map(|s| (Rc::new(s.entry.clone()), s.live_until)))
    }
}

impl Network {
    /// Reads the settings; a state without them is no network.
    pub fn load(state: &State) -> Result<Self, String> {
        let config = NetworkConfig::load_from_snapshot(&SettingsSource(state))
            .map_err(|e| format!("{e:#}"))?;
        Ok(Self {
            config,
            limits: limits(state)?,
        })
    }

    /// A budget with the instructions that a transaction declared.
    pub fn budget(&self, instructions: u64) -> Result<Budget, HostError> {
        Budget::try_from_configs(
            instructions,
            u64::from(self.config.tx_memory_limit),
            self.config.cpu_cost_params.clone(),
            self.config.memory_cost_params.clone(),
        )
    }

    /// What the host is told of a ledger.
    pub fn ledger_info(&self, network_id: [u8; 32], seq: u32, time: u64) -> LedgerInfo {
        let mut info = LedgerInfo {
            protocol_version: PROTOCOL_VERSION,
            sequence_number: seq,
            timestamp: time,
            network_id,
            base_reserve: BASE_RESERVE,
            ..LedgerInfo::default()
        };
        self.config.fill_config_fields_in_ledger_info(&mut info);
        info
    }
}

fn limits(state: &State) -> Result<SorobanLimits, String> {
    use ConfigSettingEntry as E;
    let get = |id| {
        state
            .setting(id)
            .ok_or_else(|| format!("setting {id:?} is missing"))
    };
    match (
        get(ConfigSettingId::ContractMaxSizeBytes)?,
        get(ConfigSettingId::ContractDataKeySizeBytes)?,
        get(ConfigSettingId::ContractDataEntrySizeBytes)?,
        get(ConfigSettingId::ContractBandwidthV0)?,
        get(ConfigSettingId::ContractEventsV0)?,
        get(ConfigSettingId::ContractLedgerCostV0)?,
        get(ConfigSettingId::ContractLedgerCostExtV0)?,
    ) {
        (
            E::ContractMaxSizeBytes(code),
            E::ContractDataKeySizeBytes(key),
            E::ContractDataEntrySizeBytes(entry),
            E::ContractBandwidthV0(bandwidth),
            E::ContractEventsV0(events),
            E::ContractLedgerCostV0(cost),
            E::ContractLedgerCostExtV0(ext),
        ) => Ok(SorobanLimits {
            contract_size_bytes_max: *code,
            key_size_bytes_max: *key,
            entry_size_bytes_max: *entry,
            tx_size_bytes_max: bandwidth.tx_max_size_bytes,
            events_size_bytes_max: events.tx_max_contract_events_size_bytes,
            disk_read_entries_max: cost.tx_max_disk_read_entries,
            disk_read_bytes_max: cost.tx_max_disk_read_bytes,
            write_entries_max: cost.tx_max_write_ledger_entries,
            write_bytes_max: cost.tx_max_write_bytes,
            footprint_entries_max: ext.tx_max_footprint_entries,
        }),
        _ => Err("a setting has another setting's value".into()),
    }
}
