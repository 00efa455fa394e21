//! Each fault, as a client meets it.

use holdfast_ledger::faults::{Faults, Kind};
use holdfast_ledger::xdr;
use serde_json::{json, Value};
use stellar_xdr::{TransactionResultResult as R, *};

use crate::net::*;

async fn paying() -> (Net, Key, TransactionEnvelope) {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let envelope = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    (net, a, envelope)
}

async fn raw_send(net: &Net, envelope: &TransactionEnvelope) -> Value {
    let params = json!({"transaction": xdr::b64(envelope)});
    net.call("sendTransaction", params).await
}

fn hash(net: &Net, envelope: &TransactionEnvelope) -> String {
    hex::encode(envelope.hash(net.network_id()).unwrap())
}

#[tokio::test]
async fn an_answer_dropped_after_applying_still_lands() {
    let (net, _, envelope) = paying().await;
    net.fault(json!({"kind": "drop_answer_after"})).await;
    assert_eq!(raw_send(&net, &envelope).await, "dropped");
    net.close().await;
    assert!(net.landed(&hash(&net, &envelope)).is_some());
}

#[tokio::test]
async fn an_answer_dropped_before_does_nothing() {
    let (net, _, envelope) = paying().await;
    net.fault(json!({"kind": "drop_answer_before"})).await;
    assert_eq!(raw_send(&net, &envelope).await, "dropped");
    net.close().await;
    assert!(net.landed(&hash(&net, &envelope)).is_none());
    assert_eq!(net.send(&envelope).await.status, "PENDING");
}

#[tokio::test]
async fn unavailable_does_nothing_and_strikes_the_named_method_only() {
    let (net, _, envelope) = paying().await;
    net.fault(json!({"kind": "unavailable", "method": "sendTransaction", "count": 2}))
        .await;
    assert_eq!(net.call("getHealth", json!({})).await["status"], "healthy");
    assert_eq!(raw_send(&net, &envelope).await, "unavailable");
    assert_eq!(raw_send(&net, &envelope).await, "unavailable");
    assert_eq!(net.send(&envelope).await.status, "PENDING");
}

#[tokio::test]
async fn a_delay_is_as_long_as_asked() {
    let net = Net::new().await;
    net.fault(json!({"kind": "delay", "method": "getHealth", "ms": 120}))
        .await;
    let begun = std::time::Instant::now();
    net.call("getHealth", json!({})).await;
    assert!(begun.elapsed().as_millis() >= 120);
}

#[tokio::test]
async fn try_again_later_does_not_queue() {
    let (net, _, envelope) = paying().await;
    net.fault(json!({"kind": "try_again_later"})).await;
    assert_eq!(net.send(&envelope).await.status, "TRY_AGAIN_LATER");
    net.close().await;
    assert!(net.landed(&hash(&net, &envelope)).is_none());
}

#[tokio::test]
async fn not_found_is_said_of_what_has_landed() {
    let (net, _, envelope) = paying().await;
    net.land(&envelope).await;
    net.fault(json!({"kind": "not_found"})).await;
    let ask = json!({"hash": hash(&net, &envelope)});
    let answer = net.call("getTransaction", ask.clone()).await;
    assert_eq!(answer["status"], "NOT_FOUND");
    let answer = net.call("getTransaction", ask).await;
    assert_eq!(answer["status"], "SUCCESS");
}

#[tokio::test]
async fn ingestion_that_lags_answers_as_of_then() {
    let (net, a, envelope) = paying().await;
    let before = net.sequence(&a);
    net.land(&envelope).await;
    let latest = net.rpc.node.view().latest.seq();
    net.fault(json!({"kind": "ingestion_lag", "ledgers": 1, "count": 3}))
        .await;
    let answer = net.call("getLatestLedger", json!({})).await;
    assert_eq!(answer["sequence"], latest - 1);
    let ask = json!({"hash": hash(&net, &envelope)});
    let answer = net.call("getTransaction", ask).await;
    assert_eq!(
        (&answer["status"], &answer["latestLedger"]),
        (&json!("NOT_FOUND"), &json!(latest - 1))
    );
    let keys = json!({"keys": [xdr::b64(&xdr::account_key(&a.id()))]});
    let answer = net.call("getLedgerEntries", keys).await;
    assert_eq!(answer["latestLedger"], latest - 1);
    let entry: LedgerEntryData =
        xdr::from_b64(answer["entries"][0]["xdr"].as_str().unwrap()).unwrap();
    let LedgerEntryData::Account(account) = entry else {
        panic!("an account")
    };
    assert_eq!(account.seq_num.0, before);
}

#[tokio::test]
async fn a_look_up_before_ingestion_with_a_range_after_it_lies() {
    let (net, _, envelope) = paying().await;
    net.land(&envelope).await;
    let latest = net.rpc.node.view().latest.seq();
    net.fault(json!({"kind": "ingestion_lag_between", "ledgers": 1}))
        .await;
    let ask = json!({"hash": hash(&net, &envelope)});
    let answer = net.call("getTransaction", ask).await;
    assert_eq!(
        (&answer["status"], &answer["latestLedger"]),
        (&json!("NOT_FOUND"), &json!(latest))
    );
}

#[tokio::test]
async fn two_nodes_behind_one_address_stand_at_different_heights() {
    let net = Net::new().await;
    net.advance(10).await;
    net.fault(json!({"kind": "lagging_node", "ledgers": 4, "count": 4}))
        .await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = net.call("getLatestLedger", json!({})).await;
        seen.push(answer["sequence"].as_u64().unwrap());
    }
    assert_eq!(seen, [7, 11, 7, 11]);
}

#[tokio::test]
async fn a_resend_is_told_a_lie_and_a_first_send_is_not() {
    let (net, _, envelope) = paying().await;
    net.fault(json!({"kind": "bad_seq_on_resend"})).await;
    assert_eq!(net.send(&envelope).await.status, "PENDING");
    assert_eq!(net.send(&envelope).await.error, Some(R::TxBadSeq));
    assert_eq!(net.send(&envelope).await.status, "DUPLICATE");
    net.fault(json!({"kind": "insufficient_fee_on_resend"}))
        .await;
    net.close().await;
    assert_eq!(net.send(&envelope).await.error, Some(R::TxInsufficientFee));
}

#[tokio::test]
async fn a_hostile_simulation_adds_what_nobody_asked_for() {
    let net = Net::new().await;
    let (issuer, a) = (net.fund("issuer").await, net.fund("a").await);
    let usd = usd(&issuer);
    net.run(&a, vec![trust(&usd)]).await;
    let token = net.deploy_asset(&issuer, &usd).await;
    let args = vec![a.address(), i128_val(30)];
    let tx = net.tx(&issuer, vec![invoke(&token, "mint", args)]);
    let auth = |answer: &Value| -> Vec<SorobanAuthorizationEntry> {
        let list = answer["results"][0]["auth"].as_array().unwrap();
        list.iter()
            .map(|a| xdr::from_b64(a.as_str().unwrap()).unwrap())
            .collect()
    };
    let honest = auth(&net.simulate(&tx).await);
    net.fault(json!({"kind": "hostile_simulation"})).await;
    let hostile = auth(&net.simulate(&tx).await);
    assert_eq!(hostile.len(), honest.len());
    assert_eq!(hostile[0].root_invocation.sub_invocations.len(), 1);
    net.fault(json!({"kind": "hostile_simulation", "shape": "entry", "amount": 5}))
        .await;
    assert_eq!(auth(&net.simulate(&tx).await).len(), honest.len() + 1);
    assert_eq!(auth(&net.simulate(&tx).await), honest);
}

#[tokio::test]
async fn a_stalled_ledger_does_not_close() {
    let mut options = holdfast_ledger::options::Options::for_test();
    options.manual = false;
    options.close_ms = 20;
    let net = Net::with(options).await;
    net.fault(json!({"kind": "stalled_ledger", "seconds": 0.5}))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    let stalled = net.rpc.node.view().latest.seq();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(net.rpc.node.view().latest.seq(), stalled);
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert!(net.rpc.node.view().latest.seq() > stalled);
}

#[tokio::test]
async fn a_reset_network_begins_anew_with_another_hash() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let before = net.rpc.node.view().oldest.hash.clone();
    net.rpc.node.reset().await.unwrap();
    assert!(net.account(&a).is_none());
    let view = net.rpc.node.view();
    assert_eq!(view.latest.seq(), 1);
    assert_ne!(view.oldest.hash, before);
    net.fund("a").await;
}

#[test]
fn unknown_kinds_fields_and_methods_are_refused() {
    let parse = |v: Value| serde_json::from_value::<holdfast_ledger::faults::Request>(v);
    assert!(parse(json!({"kind": "earthquake"})).is_err());
    assert!(parse(json!({"kind": "delay", "lenght": 3})).is_err());
    let faults = Faults::default();
    let refuse = |v| faults.add(parse(v).unwrap()).unwrap_err();
    assert!(refuse(json!({"kind": "not_found", "method": "getHealth"})).contains("getTransaction"));
    assert!(refuse(json!({"kind": "not_found", "ms": 5})).contains("ms"));
    assert!(refuse(json!({"kind": "not_found", "count": 0})).contains("count"));
}

#[test]
fn active_faults_tell_what_remains() {
    let faults = Faults::default();
    let request = json!({"kind": "not_found", "count": 2, "seconds": 30});
    faults
        .add(serde_json::from_value(request).unwrap())
        .unwrap();
    faults.take(Kind::NotFound, "getTransaction").unwrap();
    let list = faults.list();
    assert_eq!(list[0]["remaining_count"], 1);
    assert!(list[0]["remaining_seconds"].as_f64().unwrap() > 25.0);
    faults.take(Kind::NotFound, "getTransaction").unwrap();
    assert!(faults.take(Kind::NotFound, "getTransaction").is_none());
    assert_eq!(faults.clear(), 0);
}
