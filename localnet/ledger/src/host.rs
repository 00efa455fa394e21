//! The contract host, with one cache of parsed modules for all transactions.

use std::fmt::Debug;

use soroban_env_host::budget::{AsBudget, Budget};
use soroban_env_host::{CompilationContext, Error, ErrorHandler, HostError, ModuleCache, Val};
use stellar_xdr::{LedgerEntryData, LedgerKey};

use crate::config::{unlimited_budget, PROTOCOL_VERSION};
use crate::state::{State, Stored};

/// Compiling is not charged to any transaction here: its price is part of the
/// upload's and the call's metered cost.
#[derive(Clone)]
struct Compiler(Budget);

impl AsBudget for Compiler {
    fn as_budget(&self) -> &Budget {
        &self.0
    }
}

impl ErrorHandler for Compiler {
    fn map_err<T, E>(&self, result: Result<T, E>) -> Result<T, HostError>
    where
        Error: From<E>,
        E: Debug,
    {
        result.map_err(|e| HostError::from(Error::from(e)))
    }

    fn error(&self, error: Error, _message: &str, _args: &[Val]) -> HostError {
        HostError::from(error)
    }
}

impl CompilationContext for Compiler {}

fn compiler() -> Result<Compiler, HostError> {
    Ok(Compiler(unlimited_budget()?))
}

/// Parsed modules, shared by every call.
pub struct ContractHost {
    cache: ModuleCache,
}

impl ContractHost {
    /// An empty cache.
    pub fn new() -> Result<Self, HostError> {
        Ok(Self {
            cache: ModuleCache::new(&compiler()?)?,
        })
    }

    /// Parses all code that a state holds.
    pub fn with_state(state: &State) -> Result<Self, HostError> {
        let host = Self::new()?;
        for (key, stored) in state.iter() {
            host.add(key, stored);
        }
        Ok(host)
    }

    /// The cache as the host takes it; clones share their modules.
    pub fn cache(&self) -> ModuleCache {
        self.cache.clone()
    }

    /// Parses uploaded code. What can't be parsed was refused at its upload.
    pub fn add(&self, key: &LedgerKey, stored: &Stored) {
        if !matches!(key, LedgerKey::ContractCode(_)) {
            return;
        }
        if let LedgerEntryData::ContractCode(code) = &stored.entry.data {
            if let Ok(compiler) = compiler() {
                let parsed = self.cache.parse_and_cache_module_simple(
                    &compiler,
                    PROTOCOL_VERSION,
                    code.code.as_slice(),
                );
                debug_assert!(parsed.is_ok(), "stored code parses");
            }
        }
    }
}
