//! The queue and fee bumps.

use stellar_xdr::{TransactionResultResult as R, *};

use crate::net::*;

#[tokio::test]
async fn a_source_with_a_queued_transaction_is_busy() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let first = net.sign(&net.tx(&a, vec![pay(&b, 1)]), &[&a]);
    assert_eq!(net.send(&first).await.status, "PENDING");
    assert_eq!(net.send(&first).await.status, "DUPLICATE");
    let other = net.sign(&net.tx(&a, vec![pay(&b, 2)]), &[&a]);
    assert_eq!(net.send(&other).await.status, "TRY_AGAIN_LATER");
    let mut next = net.tx(&a, vec![pay(&b, 3)]);
    next.seq_num.0 += 1;
    assert_eq!(
        net.send(&net.sign(&next, &[&a])).await.status,
        "TRY_AGAIN_LATER"
    );
    net.close().await;
    assert_eq!(net.send(&net.sign(&next, &[&a])).await.status, "PENDING");
}

#[tokio::test]
async fn a_replacement_below_tenfold_is_refused_and_names_the_fee() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let inner = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    let first = net.bump(&inner, &payer, 200);
    assert_eq!(net.send(&first).await.status, "PENDING");
    let sent = net.send(&net.bump(&inner, &payer, 1_999)).await;
    assert_eq!(sent.status, "ERROR");
    assert_eq!(sent.error, Some(R::TxInsufficientFee));
    assert_eq!(sent.result.unwrap().fee_charged, 2_000);
}

#[tokio::test]
async fn a_replacement_at_tenfold_takes_the_place() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let inner = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    let first = net.send(&net.bump(&inner, &payer, 200)).await;
    let second = net.send(&net.bump(&inner, &payer, 2_000)).await;
    assert_eq!(second.status, "PENDING");
    net.close().await;
    assert!(net.landed(&second.hash).unwrap().succeeded());
    assert!(net.landed(&first.hash).is_none());
}

#[tokio::test]
async fn a_classic_transaction_does_not_replace_a_waiting_contract_call() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let contract = net.deploy(&a, DATA_WASM, vec![]).await;
    let put = invoke(&contract, "put", vec![symbol("key"), symbol("one")]);
    let call = net.sign(&net.prepare(&a, put.clone()).await, &[&a]);
    assert_eq!(net.send(&call).await.status, "PENDING");
    let burn = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    let sent = net.send(&net.bump(&burn, &payer, 100_000)).await;
    assert_eq!(sent.status, "TRY_AGAIN_LATER");
    // Another call on the same number does, at ten times the bid.
    let mut other = net.prepare(&a, put).await;
    other.fee += 1;
    let resources = holdfast_ledger::tx::Tx::new(call.clone(), &net.network_id())
        .unwrap()
        .resource_fee();
    let other = net.sign(&other, &[&a]);
    let sent = net.send(&net.bump(&other, &payer, resources + 2_000)).await;
    assert_eq!(sent.status, "PENDING", "{:?}", sent.error);
    net.close().await;
    assert!(net.landed(&sent.hash).unwrap().succeeded());
}

#[tokio::test]
async fn a_fee_bump_pays_from_its_own_source() {
    let net = Net::new().await;
    let (a, b, payer) = (
        net.fund("a").await,
        net.fund("b").await,
        net.fund("payer").await,
    );
    let inner = net.sign(&net.tx(&a, vec![pay(&b, 1_000)]), &[&a]);
    let landed = net.land(&net.bump(&inner, &payer, 500)).await;
    assert!(matches!(landed.result.result, R::TxFeeBumpInnerSuccess(_)));
    // Charged is the base fee of the operation and the bump, not the bid.
    assert_eq!(landed.result.fee_charged, 200);
    assert_eq!(net.balance(&payer), 100_000_000_000 - 200);
    assert_eq!(net.balance(&a), 100_000_000_000 - 1_000);
}

#[tokio::test]
async fn a_fee_bump_is_found_by_its_outer_and_its_inner_hash() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let inner = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    let inner_hash = hex::encode(inner.hash(net.network_id()).unwrap());
    let landed = net.land(&net.bump(&inner, &payer, 200)).await;
    for hash in [hex::encode(landed.hash), inner_hash.clone()] {
        let answer = net
            .call("getTransaction", serde_json::json!({"hash": hash}))
            .await;
        assert_eq!(answer["status"], "SUCCESS");
        assert_eq!(answer["feeBump"], true);
    }
    let R::TxFeeBumpInnerSuccess(pair) = &landed.result.result else {
        panic!("a fee bump")
    };
    assert_eq!(hex::encode(pair.transaction_hash.0), inner_hash);
}

#[tokio::test]
async fn a_fee_bump_around_a_failure_says_inner_failed() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let nobody = Key::new("nobody");
    let inner = net.sign(&net.tx(&a, vec![pay(&nobody, 1)]), &[&a]);
    let before = net.sequence(&a);
    let landed = net.land(&net.bump(&inner, &payer, 200)).await;
    assert!(matches!(landed.result.result, R::TxFeeBumpInnerFailed(_)));
    assert_eq!(net.sequence(&a), before + 1);
    assert_eq!(net.balance(&payer), 100_000_000_000 - 200);
}

#[tokio::test]
async fn a_fee_bump_may_not_bid_less_than_what_it_wraps() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let mut tx = net.tx(&a, vec![pay(&a, 1)]);
    tx.fee = 1_000;
    let inner = net.sign(&tx, &[&a]);
    let sent = net.send(&net.bump(&inner, &payer, 1_999)).await;
    assert_eq!(sent.error, Some(R::TxInsufficientFee));
    assert_eq!(
        net.send(&net.bump(&inner, &payer, 2_000)).await.status,
        "PENDING"
    );
}

#[tokio::test]
async fn a_bad_sequence_within_a_fee_bump_is_told_of_the_inner_one() {
    let net = Net::new().await;
    let (a, payer) = (net.fund("a").await, net.fund("payer").await);
    let mut tx = net.tx(&a, vec![pay(&a, 1)]);
    tx.seq_num.0 += 7;
    let sent = net
        .send(&net.bump(&net.sign(&tx, &[&a]), &payer, 200))
        .await;
    let Some(R::TxFeeBumpInnerFailed(pair)) = sent.error else {
        panic!("{:?}", sent.error)
    };
    assert_eq!(pair.result.result, InnerTransactionResultResult::TxBadSeq);
}

#[tokio::test]
async fn one_payer_can_not_promise_the_same_lumens_twice() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let poor = Key::new("poor");
    let create = op(OperationBody::CreateAccount(CreateAccountOp {
        destination: poor.id(),
        starting_balance: 10_000_300,
    }));
    net.run(&a, vec![create]).await;
    let first = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    let second = net.sign(&net.tx(&b, vec![pay(&b, 1)]), &[&b]);
    assert_eq!(
        net.send(&net.bump(&first, &poor, 200)).await.status,
        "PENDING"
    );
    let sent = net.send(&net.bump(&second, &poor, 200)).await;
    assert_eq!(sent.error, Some(R::TxInsufficientBalance));
}
