//! Which transactions are valid, and what an invalid one is told.

use stellar_xdr::{TransactionResultResult as R, *};

use crate::net::*;

#[tokio::test]
async fn a_payment_moves_lumens_and_costs_its_fee() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let landed = net.run(&a, vec![pay(&b, 5_000_000)]).await;
    assert_eq!(landed.result.fee_charged, 100);
    assert_eq!(net.balance(&a), 100_000_000_000 - 5_000_000 - 100);
    assert_eq!(net.balance(&b), 100_000_000_000 + 5_000_000);
}

#[tokio::test]
async fn a_bad_sequence_is_refused_before_it_is_queued() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    for off in [-1, 1] {
        let mut tx = net.tx(&a, vec![pay(&a, 1)]);
        tx.seq_num.0 += off;
        let sent = net.send(&net.sign(&tx, &[&a])).await;
        assert_eq!(sent.status, "ERROR");
        assert_eq!(sent.error, Some(R::TxBadSeq));
    }
}

#[tokio::test]
async fn a_landed_envelope_sent_again_answers_bad_seq() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let envelope = net.sign(&net.tx(&a, vec![pay(&a, 1)]), &[&a]);
    net.land(&envelope).await;
    assert_eq!(net.send(&envelope).await.error, Some(R::TxBadSeq));
}

#[tokio::test]
async fn an_expired_or_future_time_bound_is_told_apart() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let bounds = |min, max| {
        Preconditions::Time(TimeBounds {
            min_time: TimePoint(min),
            max_time: TimePoint(max),
        })
    };
    let mut tx = net.tx(&a, vec![pay(&a, 1)]);
    tx.cond = bounds(0, 1);
    assert_eq!(
        net.send(&net.sign(&tx, &[&a])).await.error,
        Some(R::TxTooLate)
    );
    tx.cond = bounds(u64::MAX - 1, 0);
    assert_eq!(
        net.send(&net.sign(&tx, &[&a])).await.error,
        Some(R::TxTooEarly)
    );
}

#[tokio::test]
async fn a_queued_transaction_whose_time_runs_out_never_lands() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let now = net.rpc.node.view().latest.close_time();
    let mut tx = net.tx(&a, vec![pay(&a, 1)]);
    tx.cond = Preconditions::Time(TimeBounds {
        min_time: TimePoint(0),
        max_time: TimePoint(now + 30),
    });
    let sent = net.send(&net.sign(&tx, &[&a])).await;
    assert_eq!(sent.status, "PENDING");
    let before = net.sequence(&a);
    let jump = holdfast_ledger::node::Advance {
        count: 1,
        seconds_each: 60,
    };
    net.rpc.node.advance(jump).await.unwrap();
    assert!(net.landed(&sent.hash).is_none());
    assert_eq!(net.sequence(&a), before);
}

#[tokio::test]
async fn ledger_bounds_are_kept() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let latest = net.rpc.node.view().latest.seq();
    let mut tx = net.tx(&a, vec![pay(&a, 1)]);
    let bounds = |min_ledger, max_ledger| {
        Preconditions::V2(PreconditionsV2 {
            time_bounds: None,
            ledger_bounds: Some(LedgerBounds {
                min_ledger,
                max_ledger,
            }),
            min_seq_num: None,
            min_seq_age: Duration(0),
            min_seq_ledger_gap: 0,
            extra_signers: Default::default(),
        })
    };
    tx.cond = bounds(latest + 2, 0);
    assert_eq!(
        net.send(&net.sign(&tx, &[&a])).await.error,
        Some(R::TxTooEarly)
    );
    tx.cond = bounds(0, latest + 1);
    assert_eq!(
        net.send(&net.sign(&tx, &[&a])).await.error,
        Some(R::TxTooLate)
    );
    tx.cond = bounds(0, latest + 2);
    assert_eq!(net.send(&net.sign(&tx, &[&a])).await.status, "PENDING");
}

#[tokio::test]
async fn a_missing_or_foreign_signature_is_bad_auth() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let tx = net.tx(&a, vec![pay(&b, 1)]);
    assert_eq!(
        net.send(&net.sign(&tx, &[])).await.error,
        Some(R::TxBadAuth)
    );
    assert_eq!(
        net.send(&net.sign(&tx, &[&b])).await.error,
        Some(R::TxBadAuth)
    );
}

#[tokio::test]
async fn an_extra_signature_is_bad_auth_extra() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let tx = net.tx(&a, vec![pay(&b, 1)]);
    let sent = net.send(&net.sign(&tx, &[&a, &b])).await;
    assert_eq!(sent.error, Some(R::TxBadAuthExtra));
}

#[tokio::test]
async fn weights_must_reach_the_operations_threshold() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, Key::new("second signer"));
    let mut signer = options();
    signer.signer = Some(Signer {
        key: SignerKey::Ed25519(Uint256(b.raw())),
        weight: 1,
    });
    let mut weights = options();
    weights.low_threshold = Some(1);
    weights.med_threshold = Some(2);
    weights.high_threshold = Some(2);
    let set = |o| op(OperationBody::SetOptions(o));
    net.run(&a, vec![set(signer), set(weights)]).await;
    let tx = net.tx(&a, vec![pay(&a, 1)]);
    let sent = net.send(&net.sign(&tx, &[&a])).await;
    let error = sent.error.unwrap();
    assert!(matches!(error, R::TxFailed(_)), "{error:?}");
    assert_eq!(first_result(&error), OperationResult::OpBadAuth);
    // A low operation takes one signature; a second one would be too many.
    let bump = op(OperationBody::BumpSequence(BumpSequenceOp {
        bump_to: SequenceNumber(0),
    }));
    let low = net.tx(&a, vec![bump]);
    assert_eq!(
        net.send(&net.sign(&low, &[&a, &b])).await.error,
        Some(R::TxBadAuthExtra)
    );
    assert!(net.land(&net.sign(&tx, &[&a, &b])).await.succeeded());
}

#[tokio::test]
async fn an_operation_of_another_account_needs_that_accounts_signature() {
    let net = Net::new().await;
    let (lane, payer) = (net.fund("lane").await, net.fund("payer").await);
    let mut payment = pay(&lane, 1_000);
    payment.source_account = Some(payer.muxed());
    let tx = net.tx(&lane, vec![payment]);
    let error = net.send(&net.sign(&tx, &[&lane])).await.error.unwrap();
    assert_eq!(first_result(&error), OperationResult::OpBadAuth);
    let landed = net.land(&net.sign(&tx, &[&payer, &lane])).await;
    assert!(landed.succeeded());
    assert_eq!(net.balance(&payer), 100_000_000_000 - 1_000);
    assert_eq!(net.balance(&lane), 100_000_000_000 + 1_000 - 100);
}

#[tokio::test]
async fn an_insufficient_fee_is_refused() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let mut tx = net.tx(&a, vec![pay(&a, 1), pay(&a, 1)]);
    tx.fee = 199;
    let sent = net.send(&net.sign(&tx, &[&a])).await;
    assert_eq!(sent.error, Some(R::TxInsufficientFee));
}

#[tokio::test]
async fn a_fee_that_nobody_can_pay_is_insufficient_balance() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let b = Key::new("poor");
    let create = op(OperationBody::CreateAccount(CreateAccountOp {
        destination: b.id(),
        starting_balance: 10_000_050,
    }));
    net.run(&a, vec![create]).await;
    let tx = net.tx(&b, vec![pay(&a, 1)]);
    let sent = net.send(&net.sign(&tx, &[&b])).await;
    assert_eq!(sent.error, Some(R::TxInsufficientBalance));
}

#[tokio::test]
async fn an_unknown_source_and_an_empty_transaction_are_refused() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let nobody = Key::new("nobody");
    let mut tx = net.tx(&a, vec![pay(&a, 1)]);
    tx.source_account = nobody.muxed();
    let sent = net.send(&net.sign(&tx, &[&nobody])).await;
    assert_eq!(sent.error, Some(R::TxNoAccount));
    let empty = net.tx(&a, vec![]);
    let sent = net.send(&net.sign(&empty, &[&a])).await;
    assert_eq!(sent.error, Some(R::TxMissingOperation));
}

#[tokio::test]
async fn a_failed_transaction_consumes_sequence_and_fee_and_nothing_else() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let before = net.sequence(&a);
    let tx = net.tx(&a, vec![pay(&b, 1_000), pay(&b, 900_000_000_000)]);
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert!(matches!(landed.result.result, R::TxFailed(_)));
    assert_eq!(net.sequence(&a), before + 1);
    assert_eq!(net.balance(&a), 100_000_000_000 - 200);
    assert_eq!(net.balance(&b), 100_000_000_000);
}

#[tokio::test]
async fn the_account_tells_in_which_ledger_its_sequence_was_consumed() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    net.run(&a, vec![pay(&a, 1)]).await;
    let view = net.rpc.node.view();
    let (ledger, time) = holdfast_ledger::account::seq_age(&net.account(&a).unwrap());
    assert_eq!(
        (ledger, time),
        (view.latest.seq(), view.latest.close_time())
    );
}

#[tokio::test]
async fn ledgers_are_chained_by_their_hashes() {
    let net = Net::new().await;
    net.advance(5).await;
    net.rpc.node.read(|chain| {
        let ledgers: Vec<_> = chain.ledgers().collect();
        for pair in ledgers.windows(2) {
            assert_eq!(pair[1].header.previous_ledger_hash, pair[0].hash);
            assert_eq!(holdfast_ledger::xdr::hash_of(&pair[1].header), pair[1].hash);
        }
    });
}
