//! Closed ledgers and what they hold: the history that readers are served from.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use stellar_xdr::{
    ExtensionPoint, GeneralizedTransactionSet, Hash, LedgerCloseMeta, LedgerCloseMetaExt,
    LedgerCloseMetaExtV1, LedgerCloseMetaV2, LedgerEntryChanges, LedgerHeader,
    LedgerHeaderHistoryEntry, LedgerHeaderHistoryEntryExt, TransactionEnvelope, TransactionMeta,
    TransactionPhase, TransactionResult, TransactionResultMetaV1, TransactionResultPair,
    TransactionSetV1, TxSetComponent, TxSetComponentTxsMaybeDiscountedFee,
};

use crate::state::State;
use crate::tx::is_soroban_operation;
use crate::xdr;

/// Ledgers whose whole state is kept, so that a node can lag behind.
pub const SNAPSHOTS_MAX: usize = 512;

/// A transaction that landed.
#[derive(Clone)]
pub struct LandedTx {
    /// The hash by which it was sent: the outer one of a fee bump.
    pub hash: [u8; 32],
    /// The inner hash; equal to `hash` without a fee bump.
    pub inner_hash: [u8; 32],
    /// As sent.
    pub envelope: TransactionEnvelope,
    /// Result with what was charged after the refund.
    pub result: TransactionResult,
    /// Changes, events, return value.
    pub meta: TransactionMeta,
    /// Fee charged, before anything was applied.
    pub fee_changes: LedgerEntryChanges,
    /// Refund, after everything was applied.
    pub refund_changes: LedgerEntryChanges,
}

impl LandedTx {
    /// Whether it succeeded.
    pub fn succeeded(&self) -> bool {
        use stellar_xdr::TransactionResultResult as R;
        matches!(
            self.result.result,
            R::TxSuccess(_) | R::TxFeeBumpInnerSuccess(_)
        )
    }

    /// Whether it is a fee bump.
    pub fn is_fee_bump(&self) -> bool {
        matches!(self.envelope, TransactionEnvelope::TxFeeBump(_))
    }

    /// Whether it runs contracts.
    pub fn is_soroban(&self) -> bool {
        envelope_is_soroban(&self.envelope)
    }
}

/// Whether an envelope runs contracts.
pub fn envelope_is_soroban(envelope: &TransactionEnvelope) -> bool {
    use stellar_xdr::FeeBumpTransactionInnerTx::Tx as Inner;
    match envelope {
        TransactionEnvelope::TxV0(_) => false,
        TransactionEnvelope::Tx(e) => e.tx.operations.iter().any(is_soroban_operation),
        TransactionEnvelope::TxFeeBump(e) => {
            let Inner(inner) = &e.tx.inner_tx;
            inner.tx.operations.iter().any(is_soroban_operation)
        }
    }
}

/// One closed ledger.
pub struct ClosedLedger {
    /// Its header.
    pub header: LedgerHeader,
    /// Hash of the header.
    pub hash: Hash,
    /// Its transactions, in the order in which they were applied.
    pub txs: Vec<LandedTx>,
}

impl ClosedLedger {
    /// Sequence.
    pub fn seq(&self) -> u32 {
        self.header.ledger_seq
    }

    /// Close time in seconds.
    pub fn close_time(&self) -> u64 {
        self.header.scp_value.close_time.0
    }

    /// The header with its hash.
    pub fn header_entry(&self) -> LedgerHeaderHistoryEntry {
        LedgerHeaderHistoryEntry {
            hash: self.hash.clone(),
            header: self.header.clone(),
            ext: LedgerHeaderHistoryEntryExt::V0,
        }
    }

    /// The set of transactions as consensus would have voted on it.
    pub fn tx_set(&self) -> GeneralizedTransactionSet {
        tx_set(
            &self.header.previous_ledger_hash,
            self.txs.iter().map(|t| &t.envelope),
        )
    }

    /// The ledger's meta: all of it, from the header to each change.
    pub fn close_meta(&self) -> LedgerCloseMeta {
        let processing: Vec<_> = self
            .txs
            .iter()
            .map(|t| TransactionResultMetaV1 {
                ext: ExtensionPoint::V0,
                result: TransactionResultPair {
                    transaction_hash: Hash(t.hash),
                    result: t.result.clone(),
                },
                fee_processing: t.fee_changes.clone(),
                tx_apply_processing: t.meta.clone(),
                post_tx_apply_fee_processing: t.refund_changes.clone(),
            })
            .collect();
        LedgerCloseMeta::V2(LedgerCloseMetaV2 {
            ext: LedgerCloseMetaExt::V1(LedgerCloseMetaExtV1 {
                ext: ExtensionPoint::V0,
                soroban_fee_write1_kb: 875,
            }),
            ledger_header: self.header_entry(),
            tx_set: self.tx_set(),
            tx_processing: processing.try_into().expect("the ledger's size is bounded"),
            upgrades_processing: Default::default(),
            scp_info: Default::default(),
            total_byte_size_of_live_soroban_state: 0,
            evicted_keys: Default::default(),
        })
    }
}

/// A transaction set: classic phase, then the contracts' phase.
pub fn tx_set<'e>(
    previous: &Hash,
    envelopes: impl Iterator<Item = &'e TransactionEnvelope>,
) -> GeneralizedTransactionSet {
    let mut classic = Vec::new();
    let mut soroban = Vec::new();
    for envelope in envelopes {
        if envelope_is_soroban(envelope) {
            soroban.push(envelope.clone());
        } else {
            classic.push(envelope.clone());
        }
    }
    let phase = |txs: Vec<TransactionEnvelope>| {
        let components = if txs.is_empty() {
            Vec::new()
        } else {
            vec![TxSetComponent::TxsetCompTxsMaybeDiscountedFee(
                TxSetComponentTxsMaybeDiscountedFee {
                    base_fee: Some(i64::from(crate::config::BASE_FEE)),
                    txs: sorted_by_hash(txs)
                        .try_into()
                        .expect("the ledger's size is bounded"),
                },
            )]
        };
        TransactionPhase::V0(components.try_into().expect("one component"))
    };
    GeneralizedTransactionSet::V1(TransactionSetV1 {
        previous_ledger_hash: previous.clone(),
        phases: vec![phase(classic), phase(soroban)]
            .try_into()
            .expect("two phases"),
    })
}

fn sorted_by_hash(mut txs: Vec<TransactionEnvelope>) -> Vec<TransactionEnvelope> {
    txs.sort_by_cached_key(|t| xdr::sha256(xdr::bytes(t)));
    txs
}

/// Where a transaction landed.
#[derive(Clone)]
pub struct Found {
    /// The ledger.
    pub ledger: Arc<ClosedLedger>,
    /// Its place in it, from 0.
    pub index: usize,
}

impl Found {
    /// The transaction.
    pub fn tx(&self) -> &LandedTx {
        &self.ledger.txs[self.index]
    }
}

/// The retained ledgers, an index of their transactions, recent states.
pub struct Chain {
    ledgers: VecDeque<Arc<ClosedLedger>>,
    snapshots: BTreeMap<u32, State>,
    by_hash: HashMap<[u8; 32], (u32, usize)>,
    retention: usize,
}

impl Chain {
    /// Begins with one ledger and its state.
    pub fn new(first: Arc<ClosedLedger>, state: Option<State>, retention: u32) -> Self {
        let mut chain = Self {
            ledgers: VecDeque::new(),
            snapshots: BTreeMap::new(),
            by_hash: HashMap::new(),
            retention: (retention as usize).max(1),
        };
        chain.push(first, state);
        chain
    }

    /// Adds the next ledger; what is older than the retention goes. A ledger
    /// read back from a compacted file comes without its state.
    pub fn push(&mut self, ledger: Arc<ClosedLedger>, state: Option<State>) {
        let seq = ledger.seq();
        for (index, tx) in ledger.txs.iter().enumerate() {
            self.by_hash.insert(tx.hash, (seq, index));
            self.by_hash.insert(tx.inner_hash, (seq, index));
        }
        if let Some(state) = state {
            self.snapshots.insert(seq, state);
        }
        while self.snapshots.len() > SNAPSHOTS_MAX {
            self.snapshots.pop_first();
        }
        self.ledgers.push_back(ledger);
        while self.ledgers.len() > self.retention {
            if let Some(old) = self.ledgers.pop_front() {
                for tx in &old.txs {
                    for hash in [tx.hash, tx.inner_hash] {
                        if self.by_hash.get(&hash).is_some_and(|f| f.0 == old.seq()) {
                            self.by_hash.remove(&hash);
                        }
                    }
                }
            }
        }
    }

    /// The newest ledger.
    pub fn latest(&self) -> &Arc<ClosedLedger> {
        self.ledgers.back().expect("a chain has its genesis")
    }

    /// The oldest retained ledger.
    pub fn oldest(&self) -> &Arc<ClosedLedger> {
        self.ledgers.front().expect("a chain has its genesis")
    }

    /// A ledger by its sequence.
    pub fn ledger(&self, seq: u32) -> Option<&Arc<ClosedLedger>> {
        let at = seq.checked_sub(self.oldest().seq())?;
        self.ledgers.get(at as usize)
    }

    /// All retained ledgers, oldest first.
    pub fn ledgers(&self) -> impl DoubleEndedIterator<Item = &Arc<ClosedLedger>> {
        self.ledgers.iter()
    }

    /// Where a transaction landed, by its outer or its inner hash.
    pub fn find(&self, hash: &[u8; 32]) -> Option<Found> {
        let (seq, index) = *self.by_hash.get(hash)?;
        Some(Found {
            ledger: self.ledger(seq)?.clone(),
            index,
        })
    }

    /// The newest ledger and its state.
    pub fn view(&self) -> View {
        self.view_behind(0)
    }

    /// A ledger some back and its state: what a node that lags would serve.
    pub fn view_behind(&self, behind: u32) -> View {
        let latest = self.latest().seq();
        let wanted = latest.saturating_sub(behind);
        let oldest_state = self.snapshots.keys().next().copied().unwrap_or(wanted);
        let seq = wanted.max(self.oldest().seq()).max(oldest_state);
        let state = self.snapshots.get(&seq).cloned().unwrap_or_default();
        View {
            latest: self.ledger(seq).unwrap_or(self.latest()).clone(),
            oldest: self.oldest().clone(),
            state,
        }
    }
}

/// One node's view: its newest ledger, its oldest, its state.
#[derive(Clone)]
pub struct View {
    /// Newest ledger.
    pub latest: Arc<ClosedLedger>,
    /// Oldest retained ledger.
    pub oldest: Arc<ClosedLedger>,
    /// Entries as of the newest ledger.
    pub state: State,
}
