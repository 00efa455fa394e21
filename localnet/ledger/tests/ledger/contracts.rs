//! Contracts: calls, resources, rent, archival.

use serde_json::{json, Value};
use stellar_xdr::{OperationResultTr as T, *};

use crate::net::*;
use holdfast_ledger::config::Network;
use holdfast_ledger::tx::Tx;
use holdfast_ledger::validate::resource_fees;
use holdfast_ledger::xdr;

fn invoke_result(result: &TransactionResultResult) -> InvokeHostFunctionResult {
    match first_result(result) {
        OperationResult::OpInner(T::InvokeHostFunction(result)) => result,
        other => panic!("{other:?}"),
    }
}

fn put(contract: &ContractId, word: &str) -> Operation {
    invoke(contract, "put", vec![symbol("key"), symbol(word)])
}

fn get(contract: &ContractId) -> Operation {
    invoke(contract, "get", vec![symbol("key")])
}

fn entry_key(contract: &ContractId) -> LedgerKey {
    LedgerKey::ContractData(LedgerKeyContractData {
        contract: ScAddress::Contract(contract.clone()),
        key: symbol("key"),
        durability: ContractDataDurability::Persistent,
    })
}

async fn with_data() -> (Net, Key, ContractId) {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let contract = net.deploy(&a, DATA_WASM, vec![]).await;
    net.run_soroban(&a, put(&contract, "one")).await;
    (net, a, contract)
}

fn set_data(tx: &mut Transaction, change: impl FnOnce(&mut SorobanTransactionData)) {
    if let TransactionExt::V1(data) = &mut tx.ext {
        change(data);
    }
}

#[tokio::test]
async fn a_contract_is_uploaded_made_with_its_constructor_and_called() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let contract = net
        .deploy(&a, CONSTRUCTOR_WASM, vec![ScVal::U32(5), ScVal::I64(7)])
        .await;
    // What the constructor was given is what the contract now holds.
    let key = ScVec(
        vec![symbol("Persistent"), ScVal::U32(5)]
            .try_into()
            .unwrap(),
    );
    let ask = invoke(&contract, "get_data", vec![ScVal::Vec(Some(key))]);
    assert_eq!(value(&net.run_soroban(&a, ask).await), ScVal::I64(7));
}

#[tokio::test]
async fn a_call_returns_its_value_and_its_events_hash_into_the_result() {
    let (net, a, contract) = with_data().await;
    let landed = net.run_soroban(&a, get(&contract)).await;
    assert_eq!(value(&landed), symbol("one"));
    let InvokeHostFunctionResult::Success(hash) = invoke_result(&landed.result.result) else {
        panic!("success")
    };
    let image = InvokeHostFunctionSuccessPreImage {
        return_value: value(&landed),
        events: meta(&landed).operations[0].events.clone(),
    };
    assert_eq!(hash, xdr::hash_of(&image));
}

#[tokio::test]
async fn an_asset_contract_moves_trustline_balances() {
    let net = Net::new().await;
    let (issuer, a, b) = (
        net.fund("issuer").await,
        net.fund("a").await,
        net.fund("b").await,
    );
    let usd = usd(&issuer);
    net.run(&a, vec![trust(&usd)]).await;
    net.run(&b, vec![trust(&usd)]).await;
    net.run(&issuer, vec![pay_asset(&usd, &a, 100)]).await;
    let token = net.deploy_asset(&issuer, &usd).await;
    let args = vec![a.address(), b.address(), i128_val(30)];
    let landed = net.run_soroban(&a, invoke(&token, "transfer", args)).await;
    assert_eq!((net.tokens(&a, &usd), net.tokens(&b, &usd)), (70, 30));
    assert_eq!(meta(&landed).operations[0].events.len(), 1);
}

#[tokio::test]
async fn a_missing_trustline_is_contract_error_13() {
    let net = Net::new().await;
    let (issuer, a, b) = (
        net.fund("issuer").await,
        net.fund("a").await,
        net.fund("b").await,
    );
    let usd = usd(&issuer);
    net.run(&a, vec![trust(&usd)]).await;
    net.run(&issuer, vec![pay_asset(&usd, &a, 100)]).await;
    let token = net.deploy_asset(&issuer, &usd).await;
    let args = vec![a.address(), b.address(), i128_val(30)];
    let tx = net.tx(&a, vec![invoke(&token, "transfer", args)]);
    let answer = net.simulate(&tx).await;
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("Error(Contract, #13)"), "{error}");
}

#[tokio::test]
async fn unused_resource_fees_are_refunded() {
    let (net, a, contract) = with_data().await;
    let mut tx = net.prepare(&a, put(&contract, "two")).await;
    set_data(&mut tx, |d| d.resource_fee += 1_000_000);
    tx.fee += 1_000_000;
    let before = net.balance(&a);
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert!(landed.succeeded());
    assert_eq!(before - net.balance(&a), landed.result.fee_charged);
    assert!(landed.result.fee_charged < i64::from(tx.fee) - 1_000_000);
    let fees = meta(&landed).events.len();
    assert_eq!(fees, 2, "a fee and a refund");
}

#[tokio::test]
async fn a_fee_bumped_call_refunds_the_fee_account() {
    let (net, a, contract) = with_data().await;
    let payer = net.fund("payer").await;
    let tx = net.prepare(&a, put(&contract, "two")).await;
    let before = net.balance(&a);
    let bump = net.bump(&net.sign(&tx, &[&a]), &payer, i64::from(tx.fee) + 100);
    let landed = net.land(&bump).await;
    assert!(landed.succeeded());
    assert_eq!(net.balance(&a), before);
    assert_eq!(
        net.balance(&payer),
        100_000_000_000 - landed.result.fee_charged
    );
}

#[tokio::test]
async fn under_declared_resources_are_refused_or_run_out() {
    let (net, a, contract) = with_data().await;
    let good = net.prepare(&a, put(&contract, "two")).await;
    // A resource fee below what the declared resources cost never enters.
    let mut tx = good.clone();
    set_data(&mut tx, |d| d.resource_fee = 1);
    let sent = net.send(&net.sign(&tx, &[&a])).await;
    assert_eq!(sent.error, Some(TransactionResultResult::TxSorobanInvalid));
    // Nor does one above the whole fee.
    let mut tx = good.clone();
    tx.fee = 100;
    let sent = net.send(&net.sign(&tx, &[&a])).await;
    assert_eq!(sent.error, Some(TransactionResultResult::TxSorobanInvalid));
    // Too few instructions run out.
    let mut tx = good.clone();
    set_data(&mut tx, |d| d.resources.instructions /= 4);
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert_eq!(
        invoke_result(&landed.result.result),
        InvokeHostFunctionResult::ResourceLimitExceeded
    );
    // Too few bytes to write, too.
    let mut tx = net.prepare(&a, put(&contract, "two")).await;
    set_data(&mut tx, |d| d.resources.write_bytes = 1);
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert_eq!(
        invoke_result(&landed.result.result),
        InvokeHostFunctionResult::ResourceLimitExceeded
    );
}

#[tokio::test]
async fn a_contract_call_takes_no_memo() {
    let (net, a, contract) = with_data().await;
    let mut tx = net.prepare(&a, put(&contract, "two")).await;
    tx.memo = Memo::Id(7);
    let sent = net.send(&net.sign(&tx, &[&a])).await;
    assert_eq!(sent.error, Some(TransactionResultResult::TxSorobanInvalid));
}

#[tokio::test]
async fn a_key_outside_the_footprint_traps() {
    let (net, a, contract) = with_data().await;
    let mut tx = net.prepare(&a, put(&contract, "two")).await;
    set_data(&mut tx, |d| {
        d.resources.footprint.read_write = Default::default();
    });
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert_eq!(
        invoke_result(&landed.result.result),
        InvokeHostFunctionResult::Trapped
    );
}

#[tokio::test]
async fn a_refundable_fee_too_small_for_rent_fails() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let contract = net.deploy(&a, DATA_WASM, vec![]).await;
    let mut tx = net.prepare(&a, put(&contract, "one")).await;
    let view = net.rpc.node.view();
    let ctx = holdfast_ledger::validate::LedgerContext {
        seq: view.latest.seq() + 1,
        close_time: view.latest.close_time(),
        network_id: net.network_id(),
        network: Network::load(&view.state).unwrap().into(),
    };
    let envelope = net.sign(&tx, &[&a]);
    let parsed = Tx::new(envelope, &net.network_id()).unwrap();
    let (fixed, _) = resource_fees(&parsed, &ctx, 0).unwrap();
    set_data(&mut tx, |d| d.resource_fee = fixed);
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert_eq!(
        invoke_result(&landed.result.result),
        InvokeHostFunctionResult::InsufficientRefundableFee
    );
}

async fn entry(net: &Net, key: &LedgerKey) -> Option<Value> {
    let answer = net
        .call("getLedgerEntries", json!({"keys": [xdr::b64(key)]}))
        .await;
    answer["entries"].as_array().unwrap().first().cloned()
}

#[tokio::test]
async fn an_archived_entry_is_not_absent_and_comes_back_by_itself() {
    let (net, a, contract) = with_data().await;
    let key = entry_key(&contract);
    let latest = net.rpc.node.view().latest.seq();
    let listed = net.prepare(&a, get(&contract)).await;
    net.rpc.node.set_ttl(key.clone(), latest).await.unwrap();
    net.close().await;
    let archived = entry(&net, &key).await.unwrap();
    assert_eq!(archived["liveUntilLedgerSeq"], latest);
    // A footprint from before the archival does not restore it.
    let landed = net.land(&net.sign(&listed, &[&a])).await;
    assert_eq!(
        invoke_result(&landed.result.result),
        InvokeHostFunctionResult::EntryArchived
    );
    // A new simulation lists it, and the call restores it and reads it.
    let landed = net.run_soroban(&a, get(&contract)).await;
    assert_eq!(value(&landed), symbol("one"));
    let changes = &meta(&landed).operations[0].changes.0;
    assert!(changes
        .iter()
        .any(|c| matches!(c, LedgerEntryChange::Restored(_))));
    let restored = entry(&net, &key).await.unwrap();
    let now = net.rpc.node.view().latest.seq();
    assert_eq!(restored["liveUntilLedgerSeq"], now + 120_960 - 1);
}

fn footprint_tx(
    net: &Net,
    a: &Key,
    body: OperationBody,
    read_only: bool,
    key: &LedgerKey,
) -> Transaction {
    let keys: VecM<LedgerKey> = vec![key.clone()].try_into().unwrap();
    let none = VecM::default();
    let (read_only, read_write) = if read_only {
        (keys, none)
    } else {
        (none, keys)
    };
    let mut tx = net.tx(a, vec![op(body)]);
    tx.ext = TransactionExt::V1(SorobanTransactionData {
        ext: SorobanTransactionDataExt::V0,
        resources: SorobanResources {
            footprint: LedgerFootprint {
                read_only,
                read_write,
            },
            instructions: 0,
            disk_read_bytes: 0,
            write_bytes: 0,
        },
        resource_fee: 0,
    });
    tx
}

async fn fill(net: &Net, mut tx: Transaction) -> Transaction {
    let answer = net.simulate(&tx).await;
    let data: SorobanTransactionData =
        xdr::from_b64(answer["transactionData"].as_str().expect("resources")).unwrap();
    tx.fee = 100 + data.resource_fee as u32;
    tx.ext = TransactionExt::V1(data);
    tx
}

#[tokio::test]
async fn an_archived_entry_is_restored_by_its_operation() {
    let (net, a, contract) = with_data().await;
    let key = entry_key(&contract);
    let latest = net.rpc.node.view().latest.seq();
    net.rpc.node.set_ttl(key.clone(), latest).await.unwrap();
    net.close().await;
    let restore = OperationBody::RestoreFootprint(RestoreFootprintOp {
        ext: ExtensionPoint::V0,
    });
    let tx = fill(&net, footprint_tx(&net, &a, restore, false, &key)).await;
    assert!(net.land(&net.sign(&tx, &[&a])).await.succeeded());
    let landed = net.run_soroban(&a, get(&contract)).await;
    assert_eq!(value(&landed), symbol("one"));
}

#[tokio::test]
async fn a_time_to_live_is_extended_and_paid_for() {
    let (net, a, contract) = with_data().await;
    let key = entry_key(&contract);
    let extend = OperationBody::ExtendFootprintTtl(ExtendFootprintTtlOp {
        ext: ExtensionPoint::V0,
        extend_to: 200_000,
    });
    let tx = fill(&net, footprint_tx(&net, &a, extend, true, &key)).await;
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert!(landed.succeeded(), "{:?}", landed.result);
    let now = net.rpc.node.view().latest.seq();
    let extended = entry(&net, &key).await.unwrap();
    assert_eq!(extended["liveUntilLedgerSeq"], now + 200_000);
}

#[tokio::test]
async fn an_allowance_ends_with_its_ledger() {
    let net = Net::new().await;
    let (issuer, a, b) = (
        net.fund("issuer").await,
        net.fund("a").await,
        net.fund("b").await,
    );
    let usd = usd(&issuer);
    net.run(&a, vec![trust(&usd)]).await;
    net.run(&issuer, vec![pay_asset(&usd, &a, 100)]).await;
    let token = net.deploy_asset(&issuer, &usd).await;
    let until = net.rpc.node.view().latest.seq() + 20;
    let args = vec![a.address(), b.address(), i128_val(50), ScVal::U32(until)];
    net.run_soroban(&a, invoke(&token, "approve", args)).await;
    let ask = || invoke(&token, "allowance", vec![a.address(), b.address()]);
    let read = |answer: Value| -> ScVal {
        xdr::from_b64(answer["results"][0]["xdr"].as_str().unwrap()).unwrap()
    };
    let tx = net.tx(&b, vec![ask()]);
    assert_eq!(read(net.simulate(&tx).await), i128_val(50));
    net.advance(30).await;
    assert_eq!(read(net.simulate(&tx).await), i128_val(0));
}

#[tokio::test]
async fn an_authorization_signed_by_another_account_is_checked() {
    let net = Net::new().await;
    let (issuer, a, lane) = (
        net.fund("issuer").await,
        net.fund("a").await,
        net.fund("lane").await,
    );
    let usd = usd(&issuer);
    net.run(&a, vec![trust(&usd)]).await;
    net.run(&issuer, vec![pay_asset(&usd, &a, 100)]).await;
    let token = net.deploy_asset(&issuer, &usd).await;
    let args = vec![a.address(), issuer.address(), i128_val(30)];
    // The lane is the source; the payer signs the authorization entry.
    let call = invoke(&token, "transfer", args);
    let unsigned = net.prepare(&lane, call).await;
    let landed = net.land(&net.sign(&unsigned, &[&lane])).await;
    assert!(!landed.succeeded(), "an unsigned entry is no authorization");
    assert_eq!(net.tokens(&a, &usd), 100);
    let mut tx = net.prepare(&lane, net_call(&unsigned)).await;
    sign_authorization(&net, &mut tx, &a);
    let landed = net.land(&net.sign(&tx, &[&lane])).await;
    assert!(landed.succeeded(), "{:?}", landed.result);
    assert_eq!(net.tokens(&a, &usd), 70);
    // The nonce is used up: the same entry again is refused.
    let mut again = tx.clone();
    again.seq_num.0 += 1;
    let landed = net.land(&net.sign(&again, &[&lane])).await;
    assert!(!landed.succeeded());
    assert_eq!(net.tokens(&a, &usd), 70);
}

fn net_call(tx: &Transaction) -> Operation {
    let OperationBody::InvokeHostFunction(call) = &tx.operations[0].body else {
        panic!("a call")
    };
    host(call.host_function.clone())
}

fn sign_authorization(net: &Net, tx: &mut Transaction, key: &Key) {
    let until = net.rpc.node.view().latest.seq() + 100;
    let mut operations = tx.operations.to_vec();
    let OperationBody::InvokeHostFunction(call) = &mut operations[0].body else {
        panic!("a call")
    };
    let mut auth = call.auth.to_vec();
    let SorobanCredentials::Address(credentials) = &mut auth[0].credentials else {
        panic!("another account's authorization")
    };
    credentials.signature_expiration_ledger = until;
    let image = HashIdPreimage::SorobanAuthorization(HashIdPreimageSorobanAuthorization {
        network_id: Hash(net.network_id()),
        nonce: credentials.nonce,
        signature_expiration_ledger: until,
        invocation: auth[0].root_invocation.clone(),
    });
    let signature = key.sign(&xdr::hash_of(&image).0).signature.0;
    let bytes = |b: Vec<u8>| ScVal::Bytes(b.try_into().unwrap());
    let map = ScVal::Map(Some(ScMap(
        vec![
            ScMapEntry {
                key: symbol("public_key"),
                val: bytes(key.raw().to_vec()),
            },
            ScMapEntry {
                key: symbol("signature"),
                val: bytes(signature.to_vec()),
            },
        ]
        .try_into()
        .unwrap(),
    )));
    let SorobanCredentials::Address(credentials) = &mut auth[0].credentials else {
        unreachable!()
    };
    credentials.signature = ScVal::Vec(Some(ScVec(vec![map].try_into().unwrap())));
    call.auth = auth.try_into().unwrap();
    tx.operations = operations.try_into().unwrap();
}
