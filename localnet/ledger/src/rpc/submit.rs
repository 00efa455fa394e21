//! Sending a transaction.

use serde::Deserialize;
use serde_json::{json, Value};
use stellar_xdr::{TransactionEnvelope, TransactionResult, TransactionResultResult};

use super::{check_format, Answer, Rpc, RpcError};
use crate::faults::Kind;
use crate::queue::Admission;
use crate::tx::Tx;
use crate::validate::outer_result;
use crate::xdr;

const METHOD: &str = "sendTransaction";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Send {
    transaction: String,
    xdr_format: Option<String>,
}

pub(super) async fn send(rpc: &Rpc, params: Send) -> Answer {
    check_format(params.xdr_format.as_deref())?;
    let envelope: TransactionEnvelope = xdr::from_b64(&params.transaction)
        .map_err(|e| RpcError::params(format!("invalid_xdr: {e}")))?;
    let tx = Tx::new(envelope.clone(), &rpc.node.network_id).map_err(RpcError::params)?;
    let faults = &rpc.node.faults;
    if faults.take(Kind::TryAgainLater, METHOD).is_some() {
        return Ok(answer(rpc, "TRY_AGAIN_LATER", &tx.hash(), None));
    }
    let submission = rpc
        .node
        .submit(envelope)
        .await
        .map_err(RpcError::internal)?;
    let lie = |kind, code| {
        faults
            .take_if(kind, METHOD, || submission.resent)
            .map(|_| answer(rpc, "ERROR", &submission.hash, Some(&lied(&tx, code))))
    };
    if let Some(answer) = lie(Kind::BadSeqOnResend, TransactionResultResult::TxBadSeq) {
        return Ok(answer);
    }
    if let Some(answer) = lie(
        Kind::InsufficientFeeOnResend,
        TransactionResultResult::TxInsufficientFee,
    ) {
        return Ok(answer);
    }
    let hash = &submission.hash;
    Ok(match &submission.admission {
        Admission::Pending => answer(rpc, "PENDING", hash, None),
        Admission::Duplicate => answer(rpc, "DUPLICATE", hash, None),
        Admission::TryAgainLater => answer(rpc, "TRY_AGAIN_LATER", hash, None),
        Admission::Error(result) => answer(rpc, "ERROR", hash, Some(result)),
    })
}

/// What core would say about a resend: of a fee bump the inner transaction has
/// the bad sequence.
fn lied(tx: &Tx, code: TransactionResultResult) -> TransactionResult {
    match code {
        TransactionResultResult::TxBadSeq => crate::validate::result_of(
            tx,
            stellar_xdr::InnerTransactionResultResult::TxBadSeq,
            tx.fee_to_charge(),
        ),
        other => outer_result(other, tx.full_fee().saturating_mul(10)),
    }
}

fn answer(rpc: &Rpc, status: &str, hash: &[u8; 32], error: Option<&TransactionResult>) -> Value {
    let view = rpc.node.view();
    let mut out = json!({
        "status": status,
        "hash": hex::encode(hash),
        "latestLedger": view.latest.seq(),
        "latestLedgerCloseTime": view.latest.close_time().to_string(),
    });
    if let Some(error) = error {
        out["errorResultXdr"] = json!(xdr::b64(error));
    }
    out
}
