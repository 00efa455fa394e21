//! Classic operations.

use stellar_xdr::{OperationResultTr as T, *};

use crate::net::*;

fn failure(result: &TransactionResultResult) -> T {
    match first_result(result) {
        OperationResult::OpInner(inner) => inner,
        other => panic!("{other:?}"),
    }
}

async fn fails(net: &Net, source: &Key, operation: Operation) -> T {
    let tx = net.tx(source, vec![operation]);
    let envelope = net.sign(&tx, &[source]);
    let sent = net.send(&envelope).await;
    if let Some(error) = sent.error {
        return failure(&error);
    }
    net.close().await;
    failure(&net.landed(&sent.hash).unwrap().result.result)
}

#[tokio::test]
async fn an_account_is_made_once_and_not_below_the_reserve() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, Key::new("b"));
    let create = |balance| {
        op(OperationBody::CreateAccount(CreateAccountOp {
            destination: b.id(),
            starting_balance: balance,
        }))
    };
    assert_eq!(
        fails(&net, &a, create(9_999_999)).await,
        T::CreateAccount(CreateAccountResult::LowReserve)
    );
    net.run(&a, vec![create(10_000_000)]).await;
    let made_in = net.rpc.node.view().latest.seq();
    assert_eq!(net.sequence(&b), i64::from(made_in) << 32);
    assert_eq!(
        fails(&net, &a, create(10_000_000)).await,
        T::CreateAccount(CreateAccountResult::AlreadyExist)
    );
}

#[tokio::test]
async fn a_payment_to_nobody_has_no_destination() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    assert_eq!(
        fails(&net, &a, pay(&Key::new("nobody"), 1)).await,
        T::Payment(PaymentResult::NoDestination)
    );
    assert_eq!(
        fails(&net, &a, pay(&a, 0)).await,
        T::Payment(PaymentResult::Malformed)
    );
}

#[tokio::test]
async fn the_reserve_can_not_be_paid_away() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let all = net.balance(&a) - 100;
    assert_eq!(
        fails(&net, &a, pay(&b, all)).await,
        T::Payment(PaymentResult::Underfunded)
    );
    let spendable = net.balance(&a) - 100 - 10_000_000;
    net.run(&a, vec![pay(&b, spendable)]).await;
    assert_eq!(net.balance(&a), 10_000_000);
}

#[tokio::test]
async fn a_token_needs_a_trustline_on_both_sides() {
    let net = Net::new().await;
    let issuer = net.fund("issuer").await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let usd = usd(&issuer);
    assert_eq!(
        fails(&net, &issuer, pay_asset(&usd, &a, 10)).await,
        T::Payment(PaymentResult::NoTrust)
    );
    net.run(&a, vec![trust(&usd)]).await;
    net.run(&issuer, vec![pay_asset(&usd, &a, 10)]).await;
    assert_eq!(
        fails(&net, &a, pay_asset(&usd, &b, 1)).await,
        T::Payment(PaymentResult::NoTrust)
    );
    assert_eq!(
        fails(&net, &b, pay_asset(&usd, &a, 1)).await,
        T::Payment(PaymentResult::SrcNoTrust)
    );
    net.run(&b, vec![trust(&usd)]).await;
    assert_eq!(
        fails(&net, &a, pay_asset(&usd, &b, 11)).await,
        T::Payment(PaymentResult::Underfunded)
    );
    net.run(&a, vec![pay_asset(&usd, &b, 4)]).await;
    assert_eq!((net.tokens(&a, &usd), net.tokens(&b, &usd)), (6, 4));
}

#[tokio::test]
async fn a_trustline_costs_a_reserve_and_goes_only_when_it_is_empty() {
    let net = Net::new().await;
    let (issuer, a) = (net.fund("issuer").await, net.fund("a").await);
    let usd = usd(&issuer);
    net.run(&a, vec![trust(&usd)]).await;
    assert_eq!(net.account(&a).unwrap().num_sub_entries, 1);
    net.run(&issuer, vec![pay_asset(&usd, &a, 10)]).await;
    let Asset::CreditAlphanum4(code) = &usd else {
        unreachable!()
    };
    let untrust = op(OperationBody::ChangeTrust(ChangeTrustOp {
        line: ChangeTrustAsset::CreditAlphanum4(code.clone()),
        limit: 0,
    }));
    assert_eq!(
        fails(&net, &a, untrust.clone()).await,
        T::ChangeTrust(ChangeTrustResult::InvalidLimit)
    );
    net.run(&a, vec![pay_asset(&usd, &issuer, 10)]).await;
    net.run(&a, vec![untrust]).await;
    assert_eq!(net.account(&a).unwrap().num_sub_entries, 0);
    assert_eq!(net.tokens(&a, &usd), -1);
}

#[tokio::test]
async fn a_token_of_nobody_can_not_be_trusted() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    assert_eq!(
        fails(&net, &a, trust(&usd(&Key::new("nobody")))).await,
        T::ChangeTrust(ChangeTrustResult::NoIssuer)
    );
}

#[tokio::test]
async fn an_issuer_that_requires_authorization_decides_who_holds() {
    let net = Net::new().await;
    let (issuer, a) = (net.fund("issuer").await, net.fund("a").await);
    let usd = usd(&issuer);
    let mut flags = options();
    flags.set_flags = Some(AccountFlags::RequiredFlag as u32);
    net.run(&issuer, vec![op(OperationBody::SetOptions(flags))])
        .await;
    net.run(&a, vec![trust(&usd)]).await;
    assert_eq!(
        fails(&net, &issuer, pay_asset(&usd, &a, 1)).await,
        T::Payment(PaymentResult::NotAuthorized)
    );
    let allow = op(OperationBody::SetTrustLineFlags(SetTrustLineFlagsOp {
        trustor: a.id(),
        asset: usd.clone(),
        clear_flags: 0,
        set_flags: TrustLineFlags::AuthorizedFlag as u32,
    }));
    net.run(&issuer, vec![allow]).await;
    net.run(&issuer, vec![pay_asset(&usd, &a, 1)]).await;
    assert_eq!(net.tokens(&a, &usd), 1);
}

#[tokio::test]
async fn options_set_domain_and_signers() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let signer = Key::new("signer");
    let mut set = options();
    set.home_domain = Some(String32("holdfast.example".try_into().unwrap()));
    set.signer = Some(Signer {
        key: SignerKey::Ed25519(Uint256(signer.raw())),
        weight: 5,
    });
    net.run(&a, vec![op(OperationBody::SetOptions(set))]).await;
    let account = net.account(&a).unwrap();
    assert_eq!(account.home_domain.0.to_string(), "holdfast.example");
    assert_eq!((account.signers.len(), account.num_sub_entries), (1, 1));
    let mut remove = options();
    remove.signer = Some(Signer {
        key: SignerKey::Ed25519(Uint256(signer.raw())),
        weight: 0,
    });
    net.run(&a, vec![op(OperationBody::SetOptions(remove))])
        .await;
    let account = net.account(&a).unwrap();
    assert_eq!((account.signers.len(), account.num_sub_entries), (0, 0));
}

#[tokio::test]
async fn data_is_kept_changed_and_removed() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let data = |value: Option<&str>| {
        op(OperationBody::ManageData(ManageDataOp {
            data_name: String64("name".try_into().unwrap()),
            data_value: value.map(|v| DataValue(v.as_bytes().to_vec().try_into().unwrap())),
        }))
    };
    assert_eq!(
        fails(&net, &a, data(None)).await,
        T::ManageData(ManageDataResult::NameNotFound)
    );
    net.run(&a, vec![data(Some("one"))]).await;
    net.run(&a, vec![data(Some("two"))]).await;
    assert_eq!(net.account(&a).unwrap().num_sub_entries, 1);
    net.run(&a, vec![data(None)]).await;
    assert_eq!(net.account(&a).unwrap().num_sub_entries, 0);
}

#[tokio::test]
async fn a_sequence_is_bumped_forward_only() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let bump = |to| {
        op(OperationBody::BumpSequence(BumpSequenceOp {
            bump_to: SequenceNumber(to),
        }))
    };
    let target = net.sequence(&a) + 100;
    net.run(&a, vec![bump(target)]).await;
    assert_eq!(net.sequence(&a), target);
    net.run(&a, vec![bump(5)]).await;
    assert_eq!(net.sequence(&a), target + 1);
}

#[tokio::test]
async fn an_account_merges_with_all_it_has() {
    let net = Net::new().await;
    let (a, b, issuer) = (
        net.fund("a").await,
        net.fund("b").await,
        net.fund("issuer").await,
    );
    let merge = op(OperationBody::AccountMerge(b.muxed()));
    net.run(&a, vec![trust(&usd(&issuer))]).await;
    assert_eq!(
        fails(&net, &a, merge.clone()).await,
        T::AccountMerge(AccountMergeResult::HasSubEntries)
    );
    let c = net.fund("c").await;
    net.run(&c, vec![merge]).await;
    assert!(net.account(&c).is_none());
    assert_eq!(net.balance(&b), 200_000_000_000 - 100);
}

#[tokio::test]
async fn operations_that_are_not_supported_say_so() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let tx = net.tx(&a, vec![op(OperationBody::Inflation)]);
    let error = net.send(&net.sign(&tx, &[&a])).await.error.unwrap();
    assert_eq!(first_result(&error), OperationResult::OpNotSupported);
}

#[tokio::test]
async fn classic_payments_emit_the_asset_contracts_events() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    let landed = net.run(&a, vec![pay(&b, 7)]).await;
    let meta = meta(&landed);
    let ContractEventBody::V0(body) = &meta.operations[0].events[0].body;
    assert_eq!(body.topics[0], symbol("transfer"));
    assert_eq!(body.topics[1], a.address());
    assert_eq!(body.data, i128_val(7));
    let ContractEventBody::V0(fee) = &meta.events[0].event.body;
    assert_eq!(
        (&fee.topics[0], &fee.data),
        (&symbol("fee"), &i128_val(100))
    );
}
