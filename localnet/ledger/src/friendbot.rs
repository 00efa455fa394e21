//! Friendbot: 10,000 XLM for a new account, from the root account.

use ed25519_dalek::{Signer as _, SigningKey};
use stellar_xdr::{
    AccountId, CreateAccountOp, DecoratedSignature, Memo, Operation, OperationBody, Preconditions,
    SequenceNumber, Signature, SignatureHint, Transaction, TransactionEnvelope, TransactionExt,
    TransactionV1Envelope, VecM,
};

use crate::config::BASE_FEE;
use crate::state::State;
use crate::tx::Tx;
use crate::xdr;

/// What an account that exists is told.
pub const ALREADY_FUNDED: &str = "account already funded to starting balance";
/// 10,000 XLM in stroops.
pub const STARTING_BALANCE: i64 = 100_000_000_000;
/// Operations that one transaction may have.
pub const OPERATIONS_MAX: usize = 100;

/// One transaction that makes all accounts that don't exist yet; `wanted` is at
/// most what one transaction holds.
pub fn transaction(state: &State, network_id: &[u8; 32], wanted: &[AccountId]) -> Option<Tx> {
    let mut accounts: Vec<&AccountId> = wanted
        .iter()
        .filter(|id| state.account(id).is_none())
        .collect();
    accounts.sort();
    accounts.dedup();
    if accounts.is_empty() {
        return None;
    }
    let key = SigningKey::from_bytes(network_id);
    let root = key.verifying_key().to_bytes();
    let sequence = state.account(&xdr::account_id(root))?.seq_num.0 + 1;
    let operations: Vec<Operation> = accounts
        .into_iter()
        .map(|id| Operation {
            source_account: None,
            body: OperationBody::CreateAccount(CreateAccountOp {
                destination: id.clone(),
                starting_balance: STARTING_BALANCE,
            }),
        })
        .collect();
    let tx = Transaction {
        source_account: stellar_xdr::MuxedAccount::Ed25519(stellar_xdr::Uint256(root)),
        fee: BASE_FEE * operations.len() as u32,
        seq_num: SequenceNumber(sequence),
        cond: Preconditions::None,
        memo: Memo::None,
        operations: operations.try_into().ok()?,
        ext: TransactionExt::V0,
    };
    let hash = tx.hash(*network_id).ok()?;
    let signature = key.sign(&hash).to_bytes().to_vec();
    let mut hint = [0; 4];
    hint.copy_from_slice(&root[28..]);
    let signatures: VecM<DecoratedSignature, 20> = vec![DecoratedSignature {
        hint: SignatureHint(hint),
        signature: Signature(signature.try_into().ok()?),
    }]
    .try_into()
    .ok()?;
    let envelope = TransactionEnvelope::Tx(TransactionV1Envelope { tx, signatures });
    Tx::new(envelope, network_id).ok()
}

/// Whether an envelope makes an account.
pub fn funds(envelope: &TransactionEnvelope, account: &AccountId) -> bool {
    let TransactionEnvelope::Tx(e) = envelope else {
        return false;
    };
    e.tx.operations
        .iter()
        .any(|op| matches!(&op.body, OperationBody::CreateAccount(c) if c.destination == *account))
}
