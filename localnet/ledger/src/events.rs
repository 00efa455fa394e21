//! Events that the ledger itself emits: asset movements of classic operations
//! in the form of the Stellar Asset Contract (CAP-67), and fees.

use stellar_xdr::{
    AccountId, Asset, ContractEvent, ContractEventBody, ContractEventType, ContractEventV0,
    DiagnosticEvent, ExtensionPoint, Int128Parts, LedgerKey, Memo, MuxedAccount, ScAddress,
    ScErrorCode, ScMap, ScMapEntry, ScString, ScVal, TransactionEvent, TransactionEventStage,
};

use crate::apply::Scope;
use crate::tx::Tx;
use crate::xdr;

/// A symbol value.
pub fn symbol(text: &str) -> ScVal {
    ScVal::Symbol(text.try_into().expect("short symbol"))
}

/// An amount as contracts write it.
pub fn i128_val(amount: i128) -> ScVal {
    ScVal::I128(Int128Parts {
        hi: (amount >> 64) as i64,
        lo: amount as u64,
    })
}

fn address(id: &AccountId) -> ScVal {
    ScVal::Address(ScAddress::Account(id.clone()))
}

fn asset_topic(asset: &Asset) -> ScVal {
    let text = xdr::asset_text(asset);
    ScVal::String(ScString(text.as_str().try_into().expect("short asset")))
}

fn event(network_id: &[u8; 32], asset: &Asset, topics: Vec<ScVal>, data: ScVal) -> ContractEvent {
    ContractEvent {
        ext: ExtensionPoint::V0,
        contract_id: Some(xdr::asset_contract_id(network_id, asset)),
        type_: ContractEventType::Contract,
        body: ContractEventBody::V0(ContractEventV0 {
            topics: topics.try_into().expect("few topics"),
            data,
        }),
    }
}

/// The receiver's multiplexing id, or the memo in its place.
fn muxed_id(tx: &Tx, to: &MuxedAccount) -> Option<ScVal> {
    if let MuxedAccount::MuxedEd25519(m) = to {
        return Some(ScVal::U64(m.id));
    }
    match &tx.tx.memo {
        Memo::Id(id) => Some(ScVal::U64(*id)),
        Memo::Text(text) => Some(ScVal::String(ScString(
            text.to_vec().try_into().expect("short memo"),
        ))),
        Memo::Hash(h) | Memo::Return(h) => {
            Some(ScVal::Bytes(h.0.to_vec().try_into().expect("a hash fits")))
        }
        Memo::None => None,
    }
}

fn amount_data(amount: i64, to: Option<ScVal>) -> ScVal {
    let amount = i128_val(i128::from(amount));
    let Some(id) = to else {
        return amount;
    };
    let entries = vec![
        ScMapEntry {
            key: symbol("amount"),
            val: amount,
        },
        ScMapEntry {
            key: symbol("to_muxed_id"),
            val: id,
        },
    ];
    ScVal::Map(Some(ScMap(entries.try_into().expect("two entries"))))
}

/// An asset moved from the operation's source; from or to the issuer it is a
/// mint or a burn.
pub fn transfer(scope: &Scope, asset: &Asset, to: &MuxedAccount, amount: i64) -> ContractEvent {
    let receiver = xdr::demux(to);
    let issuer = xdr::asset_issuer(asset);
    let mut topics = Vec::new();
    let mut data = amount_data(amount, muxed_id(scope.tx, to));
    if issuer == Some(&scope.source) {
        topics.extend([symbol("mint"), address(&receiver)]);
    } else if issuer == Some(&receiver) {
        topics.extend([symbol("burn"), address(&scope.source)]);
        data = amount_data(amount, None);
    } else {
        topics.extend([
            symbol("transfer"),
            address(&scope.source),
            address(&receiver),
        ]);
    }
    topics.push(asset_topic(asset));
    event(&scope.ctx.network_id, asset, topics, data)
}

/// An issuer took tokens back.
pub fn clawback(scope: &Scope, asset: &Asset, from: &MuxedAccount, amount: i64) -> ContractEvent {
    let topics = vec![
        symbol("clawback"),
        address(&xdr::demux(from)),
        asset_topic(asset),
    ];
    event(
        &scope.ctx.network_id,
        asset,
        topics,
        amount_data(amount, None),
    )
}

/// A fee was charged, or (negative) refunded.
pub fn fee(
    network_id: &[u8; 32],
    from: &AccountId,
    amount: i64,
    stage: TransactionEventStage,
) -> TransactionEvent {
    TransactionEvent {
        stage,
        event: event(
            network_id,
            &Asset::Native,
            vec![symbol("fee"), address(from)],
            i128_val(i128::from(amount)),
        ),
    }
}

/// Which archived key a call met: the host never sees it, so nobody else tells.
pub fn archived_entry(key: &LedgerKey, tx: &Tx) -> DiagnosticEvent {
    let called = tx
        .operations()
        .first()
        .and_then(|op| match &op.body {
            stellar_xdr::OperationBody::InvokeHostFunction(call) => Some(call),
            _ => None,
        })
        .and_then(|call| match &call.host_function {
            stellar_xdr::HostFunction::InvokeContract(args) => Some(args),
            _ => None,
        });
    let contract_id = called.and_then(|args| match &args.contract_address {
        ScAddress::Contract(id) => Some(id.clone()),
        _ => None,
    });
    let error = ScVal::Error(stellar_xdr::ScError::Storage(ScErrorCode::InvalidInput));
    let text = "trying to access an archived ledger entry that was not listed for restoration";
    let raw = xdr::bytes(key);
    let data = vec![
        ScVal::String(ScString(text.try_into().expect("short text"))),
        ScVal::Bytes(raw.try_into().unwrap_or_default()),
    ];
    DiagnosticEvent {
        in_successful_contract_call: false,
        event: ContractEvent {
            ext: ExtensionPoint::V0,
            contract_id,
            type_: ContractEventType::Diagnostic,
            body: ContractEventBody::V0(ContractEventV0 {
                topics: vec![symbol("error"), error].try_into().expect("two topics"),
                data: ScVal::Vec(Some(stellar_xdr::ScVec(
                    data.try_into().expect("two values"),
                ))),
            }),
        },
    }
}
