//! JSON-RPC as clients speak it.

use holdfast_ledger::xdr;
use serde_json::json;
use stellar_xdr::*;

use crate::net::*;

#[tokio::test]
async fn errors_have_json_rpcs_codes() {
    let net = Net::new().await;
    let code = |answer: serde_json::Value| answer["error"]["code"].as_i64();
    assert_eq!(code(net.raw("{").await), Some(-32700));
    assert_eq!(code(net.raw("{}").await), Some(-32600));
    let unknown = r#"{"jsonrpc":"2.0","id":1,"method":"getNothing"}"#;
    assert_eq!(code(net.raw(unknown).await), Some(-32601));
    assert_eq!(
        code(net.call("getTransaction", json!({})).await),
        Some(-32602)
    );
    assert_eq!(
        code(net.call("getTransaction", json!({"hash": "zz"})).await),
        Some(-32602)
    );
    assert_eq!(
        code(
            net.call("sendTransaction", json!({"transaction": "AAAA"}))
                .await
        ),
        Some(-32602)
    );
    assert_eq!(
        code(net.call("getLedgers", json!({"startLedger": 99})).await),
        Some(-32600)
    );
}

#[tokio::test]
async fn ids_may_be_words_or_numbers_and_nulls_are_left_out() {
    let net = Net::new().await;
    for id in ["7", "\"0xab\""] {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"getEvents","params":
            {{"startLedger":1,"endLedger":null,"filters":null,"pagination":{{"cursor":null,"limit":10}}}}}}"#
        );
        let answer = net.raw(&body).await;
        assert_eq!(answer["id"].to_string(), id);
        assert!(answer["result"]["events"].is_array(), "{answer}");
    }
}

#[tokio::test]
async fn a_follower_reads_every_transaction_once() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    for _ in 0..7 {
        net.run(&a, vec![pay(&a, 1)]).await;
        net.advance(2).await;
    }
    let mut seen = Vec::new();
    let mut params = json!({"startLedger": 1, "pagination": {"limit": 3}});
    loop {
        let answer = net.call("getTransactions", params).await;
        let page = answer["transactions"].as_array().unwrap();
        seen.extend(
            page.iter()
                .map(|t| t["txHash"].as_str().unwrap().to_owned()),
        );
        if page.is_empty() {
            break;
        }
        params = json!({"pagination": {"cursor": answer["cursor"], "limit": 3}});
    }
    let before = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((before, seen.len()), (8, 8));
}

#[tokio::test]
async fn ledgers_are_read_once_each_and_their_meta_parses() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    net.run(&a, vec![pay(&a, 1)]).await;
    net.advance(5).await;
    let mut next = 1;
    let mut params = json!({"startLedger": 1, "pagination": {"limit": 2}});
    loop {
        let answer = net.call("getLedgers", params).await;
        let page = answer["ledgers"].as_array().unwrap().clone();
        for ledger in &page {
            assert_eq!(ledger["sequence"], next);
            let meta: LedgerCloseMeta =
                xdr::from_b64(ledger["metadataXdr"].as_str().unwrap()).unwrap();
            let LedgerCloseMeta::V2(meta) = meta else {
                panic!("meta of version 2")
            };
            assert_eq!(meta.ledger_header.header.ledger_seq, next);
            next += 1;
        }
        if page.is_empty() {
            break;
        }
        params = json!({"pagination": {"cursor": answer["cursor"], "limit": 2}});
    }
    assert_eq!(next - 1, net.rpc.node.view().latest.seq());
}

#[tokio::test]
async fn events_are_found_by_contract_and_topics() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, net.fund("b").await);
    net.run(&a, vec![pay(&b, 5)]).await;
    let native = xdr::asset_contract_id(&net.network_id(), &Asset::Native).to_string();
    let topics = |last: &str| {
        json!([[
            xdr::b64(&symbol("transfer")),
            xdr::b64(&a.address()),
            last,
            "*"
        ]])
    };
    let ask = |topics| {
        json!({"startLedger": 1, "filters":
            [{"type": "contract", "contractIds": [native], "topics": topics}]})
    };
    let found = net.call("getEvents", ask(topics("*"))).await;
    assert_eq!(found["events"].as_array().unwrap().len(), 1, "{found}");
    let other = xdr::b64(&a.address());
    let found = net.call("getEvents", ask(topics(&other))).await;
    assert_eq!(found["events"].as_array().unwrap().len(), 0);
    let rest = json!([[xdr::b64(&symbol("transfer")), "**"]]);
    let found = net.call("getEvents", ask(rest)).await;
    // Friendbot's two gifts and the payment.
    assert!(found["events"].as_array().unwrap().len() >= 3);
}

#[tokio::test]
async fn event_pages_neither_repeat_nor_miss() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    for _ in 0..5 {
        net.run(&a, vec![pay(&a, 1)]).await;
    }
    let all = net
        .call(
            "getEvents",
            json!({"startLedger": 1, "pagination": {"limit": 1000}}),
        )
        .await;
    let total = all["events"].as_array().unwrap().len();
    let mut ids = Vec::new();
    let mut params = json!({"startLedger": 1, "pagination": {"limit": 2}});
    loop {
        let answer = net.call("getEvents", params).await;
        let page = answer["events"].as_array().unwrap();
        if page.is_empty() {
            break;
        }
        ids.extend(page.iter().map(|e| e["id"].as_str().unwrap().to_owned()));
        params = json!({"pagination": {"cursor": answer["cursor"], "limit": 2}});
    }
    assert_eq!(ids.len(), total);
    assert!(ids.windows(2).all(|w| w[0] < w[1]));
}

#[tokio::test]
async fn one_answer_of_entries_is_one_ledgers_truth() {
    let net = Net::new().await;
    let (a, b) = (net.fund("a").await, Key::new("nobody"));
    let keys = [&a, &b].map(|k| xdr::b64(&xdr::account_key(&k.id())));
    let answer = net.call("getLedgerEntries", json!({"keys": keys})).await;
    let entries = answer["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(answer["latestLedger"], net.rpc.node.view().latest.seq());
    let data: LedgerEntryData = xdr::from_b64(entries[0]["xdr"].as_str().unwrap()).unwrap();
    assert!(matches!(data, LedgerEntryData::Account(_)));
    let many = vec![keys[0].clone(); 201];
    let refused = net.call("getLedgerEntries", json!({"keys": many})).await;
    assert_eq!(refused["error"]["code"], -32602);
}

#[tokio::test]
async fn the_networks_limits_are_read_from_its_own_entries() {
    let net = Net::new().await;
    for id in ConfigSettingId::variants() {
        let key = LedgerKey::ConfigSetting(LedgerKeyConfigSetting {
            config_setting_id: id,
        });
        let answer = net
            .call("getLedgerEntries", json!({"keys": [xdr::b64(&key)]}))
            .await;
        assert_eq!(answer["entries"].as_array().unwrap().len(), 1, "{id:?}");
    }
}

#[tokio::test]
async fn friendbot_gives_once() {
    let net = Net::new().await;
    let a = net.fund("a").await;
    assert_eq!(net.balance(&a), 100_000_000_000);
    let again = net.rpc.node.fund(a.id()).await;
    assert!(again.is_err_and(|e| e.contains("already funded")));
}

#[tokio::test]
async fn friendbot_serves_more_at_once_than_one_transaction_holds() {
    let mut options = holdfast_ledger::options::Options::for_test();
    options.manual = false;
    options.close_ms = 50;
    let net = std::sync::Arc::new(Net::with(options).await);
    let asking: Vec<_> = (0..230)
        .map(|i| {
            let net = net.clone();
            tokio::spawn(async move { net.fund(&format!("account {i}")).await })
        })
        .collect();
    for asked in asking {
        let key = asked.await.unwrap();
        assert_eq!(net.balance(&key), 100_000_000_000);
    }
}

#[tokio::test]
async fn history_older_than_the_retention_goes() {
    let mut options = holdfast_ledger::options::Options::for_test();
    options.retention_ledgers = 5;
    let net = Net::with(options).await;
    let a = net.fund("a").await;
    let landed = net.run(&a, vec![pay(&a, 1)]).await;
    net.advance(10).await;
    let health = net.call("getHealth", json!({})).await;
    let (oldest, latest) = (&health["oldestLedger"], &health["latestLedger"]);
    assert_eq!(latest.as_u64().unwrap() - oldest.as_u64().unwrap(), 4);
    let hash = hex::encode(landed.hash);
    let answer = net.call("getTransaction", json!({"hash": hash})).await;
    assert_eq!(answer["status"], "NOT_FOUND");
}
