//! Operations as a person reads them.

use stellar_xdr::{
    ContractExecutable, ContractIdPreimage, CreateContractArgsV2, HostFunction, InvokeContractArgs,
    MuxedAccount, Operation, OperationBody, ScVal, SetOptionsOp, SorobanAuthorizationEntry,
    SorobanAuthorizedFunction, SorobanAuthorizedInvocation, SorobanCredentials,
};

use super::page::{account_link, address_link, amount, code, escape};
use super::value;
use crate::xdr;

/// A value in markup: addresses are links.
pub(super) fn scval(v: &ScVal) -> String {
    match v {
        ScVal::Address(address) => address_link(address),
        other => code(&value::text(other)),
    }
}

fn muxed(account: &MuxedAccount) -> String {
    account_link(&xdr::demux(account))
}

fn arguments(args: &[ScVal]) -> String {
    let items: String = args
        .iter()
        .map(|a| format!("<li>{}</li>", scval(a)))
        .collect();
    format!("<ol class=args>{items}</ol>")
}

fn call(args: &InvokeContractArgs) -> String {
    format!(
        "<b>call</b> {} · <b>{}</b>{}",
        address_link(&args.contract_address),
        code(&args.function_name.0.to_string()),
        arguments(&args.args)
    )
}

fn executable(e: &ContractExecutable) -> String {
    match e {
        ContractExecutable::Wasm(hash) => format!("of code {}", code(&hex::encode(hash.0))),
        ContractExecutable::StellarAsset => "of the Stellar Asset Contract".into(),
        other => escape(&format!("{other:?}")),
    }
}

fn preimage(p: &ContractIdPreimage) -> String {
    match p {
        ContractIdPreimage::Asset(asset) => format!("for {}", code(&xdr::asset_text(asset))),
        ContractIdPreimage::Address(a) => format!("by {}", address_link(&a.address)),
    }
}

fn create(args: &CreateContractArgsV2) -> String {
    format!(
        "<b>create contract</b> {} {}{}",
        executable(&args.executable),
        preimage(&args.contract_id_preimage),
        arguments(&args.constructor_args)
    )
}

fn host_function(f: &HostFunction) -> String {
    match f {
        HostFunction::InvokeContract(args) => call(args),
        HostFunction::CreateContract(args) => format!(
            "<b>create contract</b> {} {}",
            executable(&args.executable),
            preimage(&args.contract_id_preimage)
        ),
        HostFunction::CreateContractV2(args) => create(args),
        HostFunction::UploadContractWasm(wasm) => format!(
            "<b>upload code</b> {} ({} bytes)",
            code(&hex::encode(xdr::sha256(wasm.as_slice()))),
            wasm.len()
        ),
    }
}

fn invocation(i: &SorobanAuthorizedInvocation) -> String {
    let function = match &i.function {
        SorobanAuthorizedFunction::ContractFn(args) => call(args),
        SorobanAuthorizedFunction::CreateContractV2HostFn(args) => create(args),
        SorobanAuthorizedFunction::CreateContractHostFn(_) => "<b>create contract</b>".into(),
    };
    let subs: String = i
        .sub_invocations
        .iter()
        .map(|s| format!("<li>{}</li>", invocation(s)))
        .collect();
    if subs.is_empty() {
        function
    } else {
        format!("{function}<ul>{subs}</ul>")
    }
}

fn authorization(entry: &SorobanAuthorizationEntry) -> String {
    let by = match &entry.credentials {
        SorobanCredentials::SourceAccount => "the transaction's source".into(),
        SorobanCredentials::Address(c) | SorobanCredentials::AddressV2(c) => format!(
            "{} until ledger {}",
            address_link(&c.address),
            c.signature_expiration_ledger
        ),
        SorobanCredentials::AddressWithDelegates(c) => address_link(&c.address_credentials.address),
    };
    format!(
        "<div class=soft>authorized by {by}: {}</div>",
        invocation(&entry.root_invocation)
    )
}

fn options(op: &SetOptionsOp) -> String {
    let mut parts = Vec::new();
    let mut number = |name: &str, value: Option<u32>| {
        if let Some(value) = value {
            parts.push(format!("{name} {value}"));
        }
    };
    number("set flags", op.set_flags);
    number("clear flags", op.clear_flags);
    number("master weight", op.master_weight);
    number("low threshold", op.low_threshold);
    number("medium threshold", op.med_threshold);
    number("high threshold", op.high_threshold);
    if let Some(domain) = &op.home_domain {
        parts.push(format!("home domain {}", domain.0));
    }
    if let Some(signer) = &op.signer {
        parts.push(format!("signer {} of weight {}", signer.key, signer.weight));
    }
    escape(&parts.join(", "))
}

/// One operation in markup.
pub(super) fn describe(op: &Operation) -> String {
    use OperationBody as B;
    let body = match &op.body {
        B::CreateAccount(c) => format!(
            "<b>create account</b> {} with {} XLM",
            account_link(&c.destination),
            amount(c.starting_balance)
        ),
        B::Payment(p) => format!(
            "<b>pay</b> {} {} to {}",
            amount(p.amount),
            code(&xdr::asset_text(&p.asset)),
            muxed(&p.destination)
        ),
        B::ChangeTrust(c) => {
            let line = match &c.line {
                stellar_xdr::ChangeTrustAsset::CreditAlphanum4(a) => {
                    xdr::asset_text(&stellar_xdr::Asset::CreditAlphanum4(a.clone()))
                }
                stellar_xdr::ChangeTrustAsset::CreditAlphanum12(a) => {
                    xdr::asset_text(&stellar_xdr::Asset::CreditAlphanum12(a.clone()))
                }
                other => other.name().to_owned(),
            };
            format!("<b>trust</b> {} up to {}", code(&line), amount(c.limit))
        }
        B::AccountMerge(to) => format!("<b>merge</b> into {}", muxed(to)),
        B::SetOptions(o) => format!("<b>set options</b> {}", options(o)),
        B::ManageData(d) => format!(
            "<b>data</b> {} = {}",
            code(&d.data_name.0.to_string()),
            d.data_value
                .as_ref()
                .map_or("removed".into(), |v| code(&String::from_utf8_lossy(v)))
        ),
        B::BumpSequence(b) => format!("<b>bump sequence</b> to {}", b.bump_to.0),
        B::BeginSponsoringFutureReserves(b) => {
            format!("<b>begin sponsoring</b> {}", account_link(&b.sponsored_id))
        }
        B::EndSponsoringFutureReserves => "<b>end sponsoring</b>".into(),
        B::SetTrustLineFlags(f) => format!(
            "<b>set trustline flags</b> of {}: set {}, clear {}",
            account_link(&f.trustor),
            f.set_flags,
            f.clear_flags
        ),
        B::Clawback(c) => format!(
            "<b>claw back</b> {} {} from {}",
            amount(c.amount),
            code(&xdr::asset_text(&c.asset)),
            muxed(&c.from)
        ),
        B::InvokeHostFunction(i) => {
            let auth: String = i.auth.iter().map(authorization).collect();
            format!("{}{auth}", host_function(&i.host_function))
        }
        B::ExtendFootprintTtl(e) => {
            format!("<b>extend time to live</b> to {} ledgers", e.extend_to)
        }
        B::RestoreFootprint(_) => "<b>restore</b> the footprint".into(),
        other => escape(other.name()),
    };
    let source = op
        .source_account
        .as_ref()
        .map(|s| format!(" <span class=soft>by {}</span>", muxed(s)))
        .unwrap_or_default();
    format!("<div class=op>{body}{source}</div>")
}

/// What an envelope does, in one line of text.
pub(super) fn summary(operations: &[Operation]) -> String {
    let names: Vec<String> = operations
        .iter()
        .map(|op| match &op.body {
            OperationBody::InvokeHostFunction(i) => match &i.host_function {
                HostFunction::InvokeContract(args) => format!("call {}", args.function_name.0),
                HostFunction::UploadContractWasm(_) => "upload code".into(),
                _ => "create contract".into(),
            },
            other => other.name().to_owned(),
        })
        .collect();
    match names.as_slice() {
        [] => "nothing".into(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}
