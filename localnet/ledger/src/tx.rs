//! A transaction as the ledger sees it, read once from its envelope.

use stellar_xdr::{
    AccountId, DecoratedSignature, FeeBumpTransactionInnerTx, LedgerBounds, Memo, Operation,
    OperationBody, Preconditions, PreconditionsV2, SignerKey, SorobanTransactionData, TimeBounds,
    Transaction, TransactionEnvelope, TransactionExt,
};

use crate::config::BASE_FEE;
use crate::xdr;

/// The outer half of a fee bump.
#[derive(Clone, Debug)]
pub struct FeeBump {
    /// Who pays.
    pub source: AccountId,
    /// The whole fee that is bid.
    pub fee: i64,
    /// Hash of the outer transaction.
    pub hash: [u8; 32],
    /// Signatures of the outer envelope.
    pub signatures: Vec<DecoratedSignature>,
}

/// An envelope with what is derived from it.
#[derive(Clone, Debug)]
pub struct Tx {
    /// As it was sent.
    pub envelope: TransactionEnvelope,
    /// Hash of the inner transaction.
    pub inner_hash: [u8; 32],
    /// The inner transaction (a V0 one is read as V1).
    pub tx: Transaction,
    /// Signatures of the inner envelope.
    pub signatures: Vec<DecoratedSignature>,
    /// The fee bump around it, if any.
    pub fee_bump: Option<FeeBump>,
    /// Size of the inner envelope, for resource fees.
    pub inner_size: u32,
}

impl Tx {
    /// Reads an envelope.
    pub fn new(envelope: TransactionEnvelope, network_id: &[u8; 32]) -> Result<Self, String> {
        let hash = envelope.hash(*network_id).map_err(|e| e.to_string())?;
        let (tx, signatures, inner_hash, fee_bump, inner_size) = match &envelope {
            TransactionEnvelope::TxV0(e) => {
                let size = xdr::bytes(&envelope).len();
                let tx = Transaction::from(e.tx.clone());
                (tx, e.signatures.to_vec(), hash, None, size)
            }
            TransactionEnvelope::Tx(e) => {
                let size = xdr::bytes(&envelope).len();
                (e.tx.clone(), e.signatures.to_vec(), hash, None, size)
            }
            TransactionEnvelope::TxFeeBump(e) => {
                let FeeBumpTransactionInnerTx::Tx(inner) = &e.tx.inner_tx;
                let as_envelope = TransactionEnvelope::Tx(inner.clone());
                let inner_hash = as_envelope.hash(*network_id).map_err(|e| e.to_string())?;
                let bump = FeeBump {
                    source: xdr::demux(&e.tx.fee_source),
                    fee: e.tx.fee,
                    hash,
                    signatures: e.signatures.to_vec(),
                };
                let size = xdr::bytes(&as_envelope).len();
                (
                    inner.tx.clone(),
                    inner.signatures.to_vec(),
                    inner_hash,
                    Some(bump),
                    size,
                )
            }
        };
        Ok(Self {
            envelope,
            inner_hash,
            tx,
            signatures,
            fee_bump,
            inner_size: u32::try_from(inner_size).unwrap_or(u32::MAX),
        })
    }

    /// The hash by which the network knows it: of a fee bump the outer one.
    pub fn hash(&self) -> [u8; 32] {
        self.fee_bump.as_ref().map_or(self.inner_hash, |b| b.hash)
    }

    /// Whose sequence number it takes.
    pub fn source(&self) -> AccountId {
        xdr::demux(&self.tx.source_account)
    }

    /// Who pays the fee.
    pub fn fee_source(&self) -> AccountId {
        self.fee_bump
            .as_ref()
            .map_or_else(|| self.source(), |b| b.source.clone())
    }

    /// The sequence number it takes.
    pub fn sequence(&self) -> i64 {
        self.tx.seq_num.0
    }

    /// Its operations.
    pub fn operations(&self) -> &[Operation] {
        &self.tx.operations
    }

    /// Source of one of its operations.
    pub fn operation_source(&self, op: &Operation) -> AccountId {
        op.source_account
            .as_ref()
            .map_or_else(|| self.source(), xdr::demux)
    }

    /// Whether an operation runs contracts or their storage.
    pub fn is_soroban(&self) -> bool {
        self.operations().iter().any(is_soroban_operation)
    }

    /// Declared resources, if any.
    pub fn soroban_data(&self) -> Option<&SorobanTransactionData> {
        match &self.tx.ext {
            TransactionExt::V0 => None,
            TransactionExt::V1(data) => Some(data),
        }
    }

    /// Declared resource fee.
    pub fn resource_fee(&self) -> i64 {
        self.soroban_data().map_or(0, |d| d.resource_fee)
    }

    /// The whole fee of the inner transaction.
    pub fn inner_full_fee(&self) -> i64 {
        i64::from(self.tx.fee)
    }

    /// The whole fee that is bid.
    pub fn full_fee(&self) -> i64 {
        self.fee_bump
            .as_ref()
            .map_or_else(|| self.inner_full_fee(), |b| b.fee)
    }

    /// What is bid for inclusion alone.
    pub fn inclusion_fee(&self) -> i64 {
        self.full_fee().saturating_sub(self.resource_fee())
    }

    /// What the inner transaction bids for inclusion alone.
    pub fn inner_inclusion_fee(&self) -> i64 {
        self.inner_full_fee().saturating_sub(self.resource_fee())
    }

    /// Operations that the fee is for; a fee bump counts as one more.
    pub fn fee_operations(&self) -> i64 {
        self.inner_fee_operations() + i64::from(self.fee_bump.is_some())
    }

    fn inner_fee_operations(&self) -> i64 {
        (self.operations().len() as i64).max(1)
    }

    /// The least inclusion fee.
    pub fn min_inclusion_fee(&self) -> i64 {
        self.fee_operations() * i64::from(BASE_FEE)
    }

    /// The least inclusion fee of the inner transaction.
    pub fn inner_min_inclusion_fee(&self) -> i64 {
        self.inner_fee_operations() * i64::from(BASE_FEE)
    }

    /// What is charged before applying: the declared resource fee, and for
    /// inclusion the base fee unless less was bid.
    pub fn fee_to_charge(&self) -> i64 {
        self.resource_fee() + self.inclusion_fee().min(self.min_inclusion_fee())
    }

    /// Time bounds, if any.
    pub fn time_bounds(&self) -> Option<&TimeBounds> {
        match &self.tx.cond {
            Preconditions::None => None,
            Preconditions::Time(t) => Some(t),
            Preconditions::V2(v2) => v2.time_bounds.as_ref(),
        }
    }

    fn v2(&self) -> Option<&PreconditionsV2> {
        match &self.tx.cond {
            Preconditions::V2(v2) => Some(v2),
            _ => None,
        }
    }

    /// Ledger bounds, if any.
    pub fn ledger_bounds(&self) -> Option<&LedgerBounds> {
        self.v2()?.ledger_bounds.as_ref()
    }

    /// Smallest sequence number that the source may stand at, if relaxed.
    pub fn min_seq_num(&self) -> Option<i64> {
        Some(self.v2()?.min_seq_num.as_ref()?.0)
    }

    /// Seconds and ledgers since the source's sequence number was consumed.
    pub fn min_seq_age_and_gap(&self) -> (u64, u32) {
        self.v2()
            .map_or((0, 0), |v| (v.min_seq_age.0, v.min_seq_ledger_gap))
    }

    /// Signers beyond the source's own that must have signed.
    pub fn extra_signers(&self) -> &[SignerKey] {
        self.v2().map_or(&[], |v| v.extra_signers.as_slice())
    }

    /// Whether a memo is set.
    pub fn has_memo(&self) -> bool {
        self.tx.memo != Memo::None
    }
}

/// Whether an operation is a contract one.
pub fn is_soroban_operation(op: &Operation) -> bool {
    matches!(
        op.body,
        OperationBody::InvokeHostFunction(_)
            | OperationBody::ExtendFootprintTtl(_)
            | OperationBody::RestoreFootprint(_)
    )
}
