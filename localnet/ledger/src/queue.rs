//! Transactions that wait for the next ledger, with core's rules: one a source
//! account, replacement by a fee bump of ten times the bid.

use std::collections::{BTreeMap, HashMap};

use stellar_xdr::{AccountId, TransactionResult, TransactionResultResult as R};

use crate::account;
use crate::state::State;
use crate::tx::Tx;
use crate::validate::{self, LedgerContext};

/// How much more a replacement must bid.
pub const FEE_MULTIPLIER: i128 = 10;
/// Ledgers that a transaction waits before it is dropped.
const LEDGERS_MAX: u32 = 4;
/// Transactions that wait at once.
const QUEUE_MAX: usize = 20_000;

/// What the queue says to a transaction.
#[derive(Debug)]
pub enum Admission {
    /// It waits for the next ledger.
    Pending,
    /// It already waits.
    Duplicate,
    /// The source is busy, or the queue is full.
    TryAgainLater,
    /// It is not valid.
    Error(Box<TransactionResult>),
}

struct Queued {
    tx: Tx,
    age: u32,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    by_source: BTreeMap<AccountId, Queued>,
    fees: HashMap<AccountId, i64>,
}

impl Queue {
    /// Whether a transaction waits, by its outer or its inner hash.
    pub fn contains(&self, hash: &[u8; 32]) -> bool {
        self.by_source
            .values()
            .any(|q| q.tx.hash() == *hash || q.tx.inner_hash == *hash)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_source.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_source.is_empty()
    }

    /// Admits a transaction, or says why not.
    pub fn admit(&mut self, state: &State, tx: Tx, ctx: &LedgerContext) -> Admission {
        let source = tx.source();
        if let Some(waiting) = self.by_source.get(&source) {
            if waiting.tx.hash() == tx.hash() {
                return Admission::Duplicate;
            }
            if let Some(refusal) = refuse_replacement(&waiting.tx, &tx) {
                return refusal;
            }
        } else if self.by_source.len() >= QUEUE_MAX {
            return Admission::TryAgainLater;
        }
        if let Err(result) = validate::check_valid(state, &tx, ctx) {
            return Admission::Error(Box::new(result));
        }
        if let Some(refusal) = self.refuse_fee(state, &tx) {
            return refusal;
        }
        self.insert(source, tx);
        Admission::Pending
    }

    /// The payer of fees must afford all of its waiting transactions.
    fn refuse_fee(&self, state: &State, tx: &Tx) -> Option<Admission> {
        let payer = tx.fee_source();
        let replaced = self
            .by_source
            .get(&tx.source())
            .filter(|q| q.tx.fee_source() == payer)
            .map_or(0, |q| q.tx.full_fee());
        let waiting = self.fees.get(&payer).copied().unwrap_or(0) - replaced;
        let afford = state.account(&payer).map_or(0, account::available_balance);
        if afford.saturating_sub(tx.full_fee()) < waiting {
            let code = R::TxInsufficientBalance;
            let result = validate::outer_result(code, tx.full_fee());
            return Some(Admission::Error(Box::new(result)));
        }
        None
    }

    fn insert(&mut self, source: AccountId, tx: Tx) {
        *self.fees.entry(tx.fee_source()).or_default() += tx.full_fee();
        if let Some(old) = self.by_source.insert(source, Queued { tx, age: 0 }) {
            self.forget_fee(&old.tx);
        }
    }

    fn forget_fee(&mut self, tx: &Tx) {
        let payer = tx.fee_source();
        if let Some(sum) = self.fees.get_mut(&payer) {
            *sum -= tx.full_fee();
            if *sum <= 0 {
                self.fees.remove(&payer);
            }
        }
    }

    /// Takes the transactions for a ledger, highest bids first where not all
    /// have room. Invalid ones are dropped without a word, as in core; the rest
    /// grow older.
    pub fn take(
        &mut self,
        state: &State,
        ctx: &LedgerContext,
        classic_operations_max: usize,
        soroban_max: usize,
    ) -> Vec<Tx> {
        let mut waiting: Vec<Queued> = std::mem::take(&mut self.by_source).into_values().collect();
        self.fees.clear();
        waiting.sort_by_cached_key(|q| (std::cmp::Reverse(bid_rate(&q.tx)), q.tx.hash()));
        let (mut operations, mut soroban) = (0, 0);
        let mut taken = Vec::new();
        for mut queued in waiting {
            if validate::check_valid(state, &queued.tx, ctx).is_err() {
                continue;
            }
            let room = if queued.tx.is_soroban() {
                soroban += 1;
                soroban <= soroban_max
            } else {
                operations += queued.tx.operations().len();
                operations <= classic_operations_max
            };
            if room {
                taken.push(queued.tx);
                continue;
            }
            queued.age += 1;
            if queued.age < LEDGERS_MAX {
                *self.fees.entry(queued.tx.fee_source()).or_default() += queued.tx.full_fee();
                self.by_source.insert(queued.tx.source(), queued);
            }
        }
        taken
    }
}

/// Inclusion bid per operation, scaled so that it compares as an integer.
fn bid_rate(tx: &Tx) -> i128 {
    i128::from(tx.inclusion_fee()) * 1_000 / i128::from(tx.fee_operations())
}

/// Whether a transaction may not replace one of the same source.
fn refuse_replacement(old: &Tx, new: &Tx) -> Option<Admission> {
    // Contract and classic transactions wait in two queues; a source is busy in
    // both, and neither replaces what waits in the other.
    let same_queue = new.is_soroban() == old.is_soroban();
    if new.fee_bump.is_none() || new.sequence() != old.sequence() || !same_queue {
        return Some(Admission::TryAgainLater);
    }
    // Bids per operation are compared without dividing.
    let new_rate = i128::from(new.inclusion_fee()) * i128::from(old.fee_operations());
    let old_rate = i128::from(old.inclusion_fee()) * i128::from(new.fee_operations());
    if new_rate >= FEE_MULTIPLIER * old_rate {
        return None;
    }
    let needed = FEE_MULTIPLIER * old_rate;
    let least = (needed + i128::from(old.fee_operations()) - 1) / i128::from(old.fee_operations());
    let least = i64::try_from(least).unwrap_or(i64::MAX);
    let fee = new.resource_fee().saturating_add(least);
    let result = validate::outer_result(R::TxInsufficientFee, fee);
    Some(Admission::Error(Box::new(result)))
}
