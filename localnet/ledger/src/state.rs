//! Ledger entries and nested transactions over them.
//!
//! The map is persistent (structure is shared), so a snapshot of a whole ledger
//! costs a pointer: a nested transaction, a simulation on another thread and a
//! node that lags are each one clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use stellar_xdr::{
    AccountEntry, AccountId, ConfigSettingEntry, ConfigSettingId, ContractDataDurability, Hash,
    LedgerEntry, LedgerEntryChange, LedgerEntryChanges, LedgerEntryData, LedgerEntryExt, LedgerKey,
    LedgerKeyConfigSetting, LedgerKeyTtl, TrustLineAsset, TrustLineEntry, TtlEntry, WriteXdr,
};

use crate::xdr;

/// An entry, and for contract data and code the last ledger in which it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The entry as the ledger holds it.
    pub entry: LedgerEntry,
    /// Last ledger (inclusive) of a contract entry.
    pub live_until: Option<u32>,
    /// The ledger in which `live_until` was last changed.
    pub ttl_modified: u32,
}

type Map = imbl::HashMap<LedgerKey, Arc<Stored>>;

/// All entries as of one moment.
#[derive(Clone, Default)]
pub struct State {
    entries: Map,
    /// Bytes of live and archived contract entries, for rent.
    soroban_bytes: u64,
}

/// Durability of a contract entry; `None` for classic ones.
pub fn durability(key: &LedgerKey) -> Option<ContractDataDurability> {
    soroban_env_host::ledger_info::get_key_durability(key)
}

fn soroban_size(stored: &Stored) -> u64 {
    if stored.live_until.is_some() {
        xdr::bytes(&stored.entry).len() as u64
    } else {
        0
    }
}

impl State {
    /// Looks an entry up, archived or not.
    pub fn get(&self, key: &LedgerKey) -> Option<&Arc<Stored>> {
        self.entries.get(key)
    }

    /// Looks an account up.
    pub fn account(&self, id: &AccountId) -> Option<&AccountEntry> {
        match &self.get(&xdr::account_key(id))?.entry.data {
            LedgerEntryData::Account(a) => Some(a),
            _ => None,
        }
    }

    /// Looks a trustline up.
    pub fn trustline(&self, id: &AccountId, asset: &TrustLineAsset) -> Option<&TrustLineEntry> {
        match &self.get(&xdr::trustline_key(id, asset))?.entry.data {
            LedgerEntryData::Trustline(t) => Some(t),
            _ => None,
        }
    }

    /// A setting of the network.
    pub fn setting(&self, id: ConfigSettingId) -> Option<&ConfigSettingEntry> {
        let key = LedgerKey::ConfigSetting(LedgerKeyConfigSetting {
            config_setting_id: id,
        });
        match &self.get(&key)?.entry.data {
            LedgerEntryData::ConfigSetting(c) => Some(c),
            _ => None,
        }
    }

    /// Puts or removes an entry.
    pub fn set(&mut self, key: LedgerKey, value: Option<Arc<Stored>>) {
        if durability(&key).is_some() {
            let before = self.entries.get(&key).map_or(0, |s| soroban_size(s));
            let after = value.as_ref().map_or(0, |s| soroban_size(s));
            self.soroban_bytes = self.soroban_bytes - before + after;
        }
        match value {
            Some(v) => {
                self.entries.insert(key, v);
            }
            None => {
                self.entries.remove(&key);
            }
        }
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&LedgerKey, &Arc<Stored>)> {
        self.entries.iter()
    }

    /// Bytes of contract entries.
    pub fn soroban_bytes(&self) -> u64 {
        self.soroban_bytes
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// A nested transaction: its own view of the state and what it has changed.
#[derive(Clone)]
pub struct Txn {
    state: State,
    ledger_seq: u32,
    /// Values as they were when this level began.
    before: BTreeMap<LedgerKey, Option<Arc<Stored>>>,
    /// Keys brought back from the archive at this level.
    restored: BTreeMap<LedgerKey, ()>,
}

impl Txn {
    /// Begins on a state, for a ledger to be closed.
    pub fn new(state: State, ledger_seq: u32) -> Self {
        Self {
            state,
            ledger_seq,
            before: BTreeMap::new(),
            restored: BTreeMap::new(),
        }
    }

    /// Begins a level within this one.
    pub fn nested(&self) -> Self {
        Self::new(self.state.clone(), self.ledger_seq)
    }

    /// Takes over what a nested level changed.
    pub fn commit(&mut self, child: Txn) {
        for (key, old) in child.before {
            self.before.entry(key).or_insert(old);
        }
        self.restored.extend(child.restored);
        self.state = child.state;
    }

    /// The state with this level's changes.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state with this level's changes, taken out.
    pub fn into_state(self) -> State {
        self.state
    }

    /// The ledger to be closed.
    pub fn ledger_seq(&self) -> u32 {
        self.ledger_seq
    }

    /// Keys touched by this level, with the value each had.
    pub fn touched(&self) -> impl Iterator<Item = (&LedgerKey, &Option<Arc<Stored>>)> {
        self.before.iter()
    }

    fn remember(&mut self, key: &LedgerKey) {
        if !self.before.contains_key(key) {
            self.before
                .insert(key.clone(), self.state.get(key).cloned());
        }
    }

    /// Puts an entry's data; the extension (sponsor) is kept unless given.
    pub fn put(&mut self, data: LedgerEntryData, ext: Option<LedgerEntryExt>) {
        let key = data.to_key();
        self.remember(&key);
        let old = self.state.get(&key);
        let ext = ext.unwrap_or_else(|| old.map_or(LedgerEntryExt::V0, |o| o.entry.ext.clone()));
        let stored = Stored {
            entry: LedgerEntry {
                last_modified_ledger_seq: self.ledger_seq,
                data,
                ext,
            },
            live_until: old.and_then(|o| o.live_until),
            ttl_modified: old.map_or(self.ledger_seq, |o| o.ttl_modified),
        };
        self.state.set(key, Some(Arc::new(stored)));
    }

    /// Puts an account.
    pub fn put_account(&mut self, account: AccountEntry) {
        self.put(LedgerEntryData::Account(account), None);
    }

    /// Puts a trustline.
    pub fn put_trustline(&mut self, line: TrustLineEntry) {
        self.put(LedgerEntryData::Trustline(line), None);
    }

    /// Puts a whole contract entry with its time to live.
    pub fn put_contract_entry(&mut self, mut entry: LedgerEntry, live_until: u32) {
        let key = entry.to_key();
        self.remember(&key);
        entry.last_modified_ledger_seq = self.ledger_seq;
        let ttl_modified = match self.state.get(&key) {
            Some(old) if old.live_until == Some(live_until) => old.ttl_modified,
            _ => self.ledger_seq,
        };
        let stored = Stored {
            entry,
            live_until: Some(live_until),
            ttl_modified,
        };
        self.state.set(key, Some(Arc::new(stored)));
    }

    /// Moves the last ledger of a contract entry.
    pub fn set_live_until(&mut self, key: &LedgerKey, live_until: u32) {
        let Some(old) = self.state.get(key).cloned() else {
            return;
        };
        self.remember(key);
        let mut stored = (*old).clone();
        stored.live_until = Some(live_until);
        stored.ttl_modified = self.ledger_seq;
        self.state.set(key.clone(), Some(Arc::new(stored)));
    }

    /// Brings an archived entry back.
    pub fn restore(&mut self, key: &LedgerKey, live_until: u32) {
        self.set_live_until(key, live_until);
        self.restored.insert(key.clone(), ());
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &LedgerKey) {
        self.remember(key);
        self.state.set(key.clone(), None);
    }

    /// This level's changes as a ledger's meta tells them.
    pub fn changes(&self) -> LedgerEntryChanges {
        let mut out = Vec::new();
        for (key, old) in &self.before {
            self.push_change(&mut out, key, old.as_deref());
        }
        LedgerEntryChanges(out.try_into().expect("changes fit"))
    }

    fn push_change(&self, out: &mut Vec<LedgerEntryChange>, key: &LedgerKey, old: Option<&Stored>) {
        let new = self.state.get(key).map(|a| a.as_ref());
        // An expired temporary entry is gone: writing its key again creates it.
        let temporary = durability(key) == Some(ContractDataDurability::Temporary);
        let old = old.filter(|o| !(temporary && o.live_until < Some(self.ledger_seq)));
        if self.restored.contains_key(key) {
            if let Some(new) = new {
                let restored = old.unwrap_or(new);
                out.push(LedgerEntryChange::Restored(restored.entry.clone()));
                if let Some(ttl) = ttl_entry(key, new) {
                    out.push(LedgerEntryChange::Restored(ttl));
                }
                if restored.entry != new.entry {
                    out.push(LedgerEntryChange::State(restored.entry.clone()));
                    out.push(LedgerEntryChange::Updated(new.entry.clone()));
                }
            }
            return;
        }
        match (old, new) {
            (None, None) => {}
            (None, Some(new)) => {
                out.push(LedgerEntryChange::Created(new.entry.clone()));
                if let Some(ttl) = ttl_entry(key, new) {
                    out.push(LedgerEntryChange::Created(ttl));
                }
            }
            (Some(old), None) => {
                out.push(LedgerEntryChange::State(old.entry.clone()));
                out.push(LedgerEntryChange::Removed(key.clone()));
                if let Some(ttl) = ttl_entry(key, old) {
                    let ttl_key = ttl.to_key();
                    out.push(LedgerEntryChange::State(ttl));
                    out.push(LedgerEntryChange::Removed(ttl_key));
                }
            }
            (Some(old), Some(new)) => {
                if old.entry != new.entry {
                    out.push(LedgerEntryChange::State(old.entry.clone()));
                    out.push(LedgerEntryChange::Updated(new.entry.clone()));
                }
                if old.live_until != new.live_until {
                    if let (Some(a), Some(b)) = (ttl_entry(key, old), ttl_entry(key, new)) {
                        out.push(LedgerEntryChange::State(a));
                        out.push(LedgerEntryChange::Updated(b));
                    }
                }
            }
        }
    }
}

/// Hash of a key, by which its TTL entry is named.
pub fn ttl_key_hash(key: &LedgerKey) -> Hash {
    xdr::hash_of(key)
}

fn ttl_entry(key: &LedgerKey, stored: &Stored) -> Option<LedgerEntry> {
    Some(LedgerEntry {
        last_modified_ledger_seq: stored.ttl_modified,
        data: LedgerEntryData::Ttl(TtlEntry {
            key_hash: ttl_key_hash(key),
            live_until_ledger_seq: stored.live_until?,
        }),
        ext: LedgerEntryExt::V0,
    })
}

/// Key of the TTL entry that belongs to a contract entry.
pub fn ttl_key(key: &LedgerKey) -> LedgerKey {
    LedgerKey::Ttl(LedgerKeyTtl {
        key_hash: ttl_key_hash(key),
    })
}

/// Digest of a set of changes, chained from ledger to ledger in place of the
/// bucket list's hash.
pub fn changes_digest(previous: &Hash, changes: &impl WriteXdr) -> Hash {
    let mut data = previous.0.to_vec();
    data.extend(xdr::bytes(changes));
    Hash(xdr::sha256(data))
}
