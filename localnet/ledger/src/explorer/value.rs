//! Values of contracts as a person reads them.

use stellar_xdr::{ContractEvent, ContractEventBody, Int128Parts, ScError, ScVal, UInt128Parts};

/// A value in one line.
pub fn text(value: &ScVal) -> String {
    match value {
        ScVal::Bool(b) => b.to_string(),
        ScVal::Void => "()".into(),
        ScVal::Error(e) => error(e),
        ScVal::U32(n) => n.to_string(),
        ScVal::I32(n) => n.to_string(),
        ScVal::U64(n) => n.to_string(),
        ScVal::I64(n) => n.to_string(),
        ScVal::Timepoint(t) => super::time::iso(t.0),
        ScVal::Duration(d) => format!("{} s", d.0),
        ScVal::U128(UInt128Parts { hi, lo }) => {
            (u128::from(*hi) << 64 | u128::from(*lo)).to_string()
        }
        ScVal::I128(Int128Parts { hi, lo }) => {
            (i128::from(*hi) << 64 | i128::from(*lo)).to_string()
        }
        ScVal::U256(n) => n.to_string(),
        ScVal::I256(n) => n.to_string(),
        ScVal::Bytes(b) => format!("0x{}", hex::encode(b.as_slice())),
        ScVal::String(s) => format!("{:?}", String::from_utf8_lossy(s.as_slice())),
        ScVal::Symbol(s) => String::from_utf8_lossy(s.as_slice()).into_owned(),
        ScVal::Vec(items) => {
            let items: Vec<String> = items.iter().flat_map(|v| v.iter()).map(text).collect();
            format!("[{}]", items.join(", "))
        }
        ScVal::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .flat_map(|m| m.iter())
                .map(|e| format!("{}: {}", text(&e.key), text(&e.val)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        ScVal::Address(address) => address.to_string(),
        ScVal::ContractInstance(_) => "instance".into(),
        ScVal::LedgerKeyContractInstance => "instance".into(),
        ScVal::ExecutableTag(tag) => String::from_utf8_lossy(tag.as_slice()).into_owned(),
        ScVal::LedgerKeyNonce(n) => format!("nonce {}", n.nonce),
    }
}

/// An error as the host writes it.
fn error(e: &ScError) -> String {
    let code = match e {
        ScError::Contract(code) => return format!("Error(Contract, #{code})"),
        ScError::WasmVm(code)
        | ScError::Context(code)
        | ScError::Storage(code)
        | ScError::Object(code)
        | ScError::Crypto(code)
        | ScError::Events(code)
        | ScError::Budget(code)
        | ScError::Value(code)
        | ScError::Auth(code) => code,
    };
    format!("Error({}, {})", e.name(), code.name())
}

/// An event in one line: topics, then data.
pub fn event_text(event: &ContractEvent) -> String {
    let ContractEventBody::V0(body) = &event.body;
    let topics: Vec<String> = body.topics.iter().map(text).collect();
    let contract = event
        .contract_id
        .as_ref()
        .map(|c| format!("contract:{c}, "))
        .unwrap_or_default();
    format!(
        "[{:?} Event] {contract}topics:[{}], data:{}",
        event.type_,
        topics.join(", "),
        text(&body.data)
    )
}
