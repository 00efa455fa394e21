//! Reserves that somebody else pays.

use stellar_xdr::{OperationResultTr as T, *};

use crate::net::*;

fn begin(sponsored: &Key) -> OperationBody {
    OperationBody::BeginSponsoringFutureReserves(BeginSponsoringFutureReservesOp {
        sponsored_id: sponsored.id(),
    })
}

fn end(by: &Key) -> Operation {
    op_by(by, OperationBody::EndSponsoringFutureReserves)
}

fn counts(account: &AccountEntry) -> (u32, u32) {
    (
        holdfast_ledger::account::num_sponsoring(account),
        holdfast_ledger::account::num_sponsored(account),
    )
}

#[tokio::test]
async fn an_account_without_lumens_is_made_with_a_sponsored_trustline() {
    let net = Net::new().await;
    let (funder, issuer) = (net.fund("funder").await, net.fund("issuer").await);
    let user = Key::new("user");
    let usd = usd(&issuer);
    let create = op(OperationBody::CreateAccount(CreateAccountOp {
        destination: user.id(),
        starting_balance: 0,
    }));
    let mut line = trust(&usd);
    line.source_account = Some(user.muxed());
    let tx = net.tx(&funder, vec![op(begin(&user)), create, line, end(&user)]);
    let landed = net.land(&net.sign(&tx, &[&funder, &user])).await;
    assert!(landed.succeeded(), "{:?}", landed.result);
    let account = net.account(&user).unwrap();
    assert_eq!((account.balance, account.num_sub_entries), (0, 1));
    assert_eq!(counts(&account), (0, 3));
    assert_eq!(counts(&net.account(&funder).unwrap()), (3, 0));
    // What is sponsored is not the sponsor's to spend.
    let available = holdfast_ledger::account::available_balance(&net.account(&funder).unwrap());
    assert_eq!(available, net.balance(&funder) - 5 * 5_000_000);
}

#[tokio::test]
async fn a_sponsored_account_gives_the_reserve_back_when_it_merges() {
    let net = Net::new().await;
    let funder = net.fund("funder").await;
    let lane = Key::new("lane");
    let create = op(OperationBody::CreateAccount(CreateAccountOp {
        destination: lane.id(),
        starting_balance: 0,
    }));
    let tx = net.tx(&funder, vec![op(begin(&lane)), create, end(&lane)]);
    net.land(&net.sign(&tx, &[&funder, &lane])).await;
    net.advance(1).await;
    let merge = op_by(&lane, OperationBody::AccountMerge(funder.muxed()));
    let tx = net.tx(&funder, vec![merge]);
    let landed = net.land(&net.sign(&tx, &[&funder, &lane])).await;
    assert!(landed.succeeded(), "{:?}", landed.result);
    assert_eq!(counts(&net.account(&funder).unwrap()), (0, 0));
}

#[tokio::test]
async fn a_sponsor_can_not_merge() {
    let net = Net::new().await;
    let (funder, other) = (net.fund("funder").await, net.fund("other").await);
    let lane = Key::new("lane");
    let create = op(OperationBody::CreateAccount(CreateAccountOp {
        destination: lane.id(),
        starting_balance: 0,
    }));
    let tx = net.tx(&funder, vec![op(begin(&lane)), create, end(&lane)]);
    net.land(&net.sign(&tx, &[&funder, &lane])).await;
    let merge = op(OperationBody::AccountMerge(other.muxed()));
    let tx = net.tx(&funder, vec![merge]);
    let landed = net.land(&net.sign(&tx, &[&funder])).await;
    assert_eq!(
        first_result(&landed.result.result),
        OperationResult::OpInner(T::AccountMerge(AccountMergeResult::IsSponsor))
    );
}

#[tokio::test]
async fn a_sponsorship_left_open_fails_the_transaction() {
    let net = Net::new().await;
    let (funder, user) = (net.fund("funder").await, net.fund("user").await);
    let tx = net.tx(&funder, vec![op(begin(&user))]);
    let landed = net.land(&net.sign(&tx, &[&funder])).await;
    assert_eq!(
        landed.result.result,
        TransactionResultResult::TxBadSponsorship
    );
}

#[tokio::test]
async fn ending_what_was_not_begun_is_not_sponsored() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    let tx = net.tx(&a, vec![op(OperationBody::EndSponsoringFutureReserves)]);
    let landed = net.land(&net.sign(&tx, &[&a])).await;
    assert_eq!(
        first_result(&landed.result.result),
        OperationResult::OpInner(T::EndSponsoringFutureReserves(
            EndSponsoringFutureReservesResult::NotSponsored
        ))
    );
}

#[tokio::test]
async fn a_sponsored_signer_and_data_count_for_the_sponsor() {
    let net = Net::new().await;
    let (funder, user) = (net.fund("funder").await, net.fund("user").await);
    let mut set = options();
    set.signer = Some(Signer {
        key: SignerKey::Ed25519(Uint256(Key::new("k").raw())),
        weight: 1,
    });
    let data = OperationBody::ManageData(ManageDataOp {
        data_name: String64("d".try_into().unwrap()),
        data_value: Some(DataValue(vec![1].try_into().unwrap())),
    });
    let tx = net.tx(
        &funder,
        vec![
            op(begin(&user)),
            op_by(&user, OperationBody::SetOptions(set)),
            op_by(&user, data),
            end(&user),
        ],
    );
    assert!(net
        .land(&net.sign(&tx, &[&funder, &user]))
        .await
        .succeeded());
    assert_eq!(counts(&net.account(&funder).unwrap()), (2, 0));
    assert_eq!(counts(&net.account(&user).unwrap()), (0, 2));
    let mut remove = options();
    remove.signer = Some(Signer {
        key: SignerKey::Ed25519(Uint256(Key::new("k").raw())),
        weight: 0,
    });
    net.run(&user, vec![op(OperationBody::SetOptions(remove))])
        .await;
    assert_eq!(counts(&net.account(&funder).unwrap()), (1, 0));
}
