//! What the network is and how it does.

use serde_json::{json, Value};

use super::{Answer, Rpc};
use crate::chain::View;
use crate::config::PROTOCOL_VERSION;

/// Ledgers that fee statistics look back over, as stellar-rpc's defaults.
const FEE_WINDOW: u32 = 50;

pub(super) fn get_network(rpc: &Rpc) -> Answer {
    Ok(json!({
        "friendbotUrl": format!("{}/friendbot", rpc.base_url),
        "passphrase": rpc.options.passphrase,
        "protocolVersion": PROTOCOL_VERSION,
    }))
}

pub(super) fn get_version_info() -> Answer {
    Ok(json!({
        "version": concat!("holdfast-ledger-", env!("CARGO_PKG_VERSION")),
        "commitHash": "",
        "buildTimestamp": "",
        "captiveCoreVersion": "soroban-env-host 28.0.2",
        "protocolVersion": PROTOCOL_VERSION,
    }))
}

pub(super) fn get_health(rpc: &Rpc, view: &View) -> Answer {
    Ok(json!({
        "status": "healthy",
        "latestLedger": view.latest.seq(),
        "latestLedgerCloseTime": view.latest.close_time().to_string(),
        "oldestLedger": view.oldest.seq(),
        "oldestLedgerCloseTime": view.oldest.close_time().to_string(),
        "ledgerRetentionWindow": rpc.options.retention_ledgers,
    }))
}

pub(super) fn get_fee_stats(rpc: &Rpc, view: &View) -> Answer {
    let latest = view.latest.seq();
    let (mut soroban, mut classic) = (Vec::new(), Vec::new());
    let ledgers = rpc.node.read(|chain| {
        let mut count = 0;
        let recent = chain
            .ledgers()
            .rev()
            .skip_while(|l| l.seq() > latest)
            .take(FEE_WINDOW as usize);
        for ledger in recent {
            count += 1;
            for tx in &ledger.txs {
                if let Ok(parsed) = crate::tx::Tx::new(tx.envelope.clone(), &rpc.node.network_id) {
                    let paid = parsed.fee_to_charge() - parsed.resource_fee();
                    let per_operation = paid / parsed.fee_operations();
                    if parsed.is_soroban() {
                        soroban.push(paid);
                    } else {
                        classic.push(per_operation);
                    }
                }
            }
        }
        count
    });
    Ok(json!({
        "sorobanInclusionFee": distribution(soroban, ledgers),
        "inclusionFee": distribution(classic, ledgers),
        "latestLedger": latest,
    }))
}

fn distribution(mut fees: Vec<i64>, ledgers: u32) -> Value {
    fees.sort_unstable();
    let at = |percent: usize| {
        let index = (fees.len() * percent).div_ceil(100).saturating_sub(1);
        fees.get(index).copied().unwrap_or(0).to_string()
    };
    let mut mode = (0, 0);
    for group in fees.chunk_by(|a, b| a == b) {
        if group.len() > mode.0 {
            mode = (group.len(), group[0]);
        }
    }
    let mut out = json!({
        "max": fees.last().copied().unwrap_or(0).to_string(),
        "min": fees.first().copied().unwrap_or(0).to_string(),
        "mode": mode.1.to_string(),
        "transactionCount": fees.len().to_string(),
        "ledgerCount": ledgers,
    });
    for percent in [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99] {
        out[format!("p{percent}")] = json!(at(percent));
    }
    out
}
