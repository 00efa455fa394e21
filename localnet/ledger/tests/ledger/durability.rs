//! The state file survives whatever ends the process.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use holdfast_ledger::node::Node;
use holdfast_ledger::options::Options;
use holdfast_ledger::xdr;
use serde_json::{json, Value};

use crate::net::*;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ledger-test-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Process {
    child: Child,
    address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[&str]) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holdfast-ledger"))
        .args(["--port", "0"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    // The rest is read too, so that the process never writes into a closed pipe.
    std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
    let address = line
        .trim()
        .strip_prefix("ready http://")
        .unwrap_or_else(|| panic!("{line:?}"))
        .to_owned();
    Process { child, address }
}

fn http(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn get(address: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    http(address, &request)
}

fn post(address: &str, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    http(address, &format!("{head}{body}"))
}

fn rpc(address: &str, method: &str, params: &Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let answer = post(address, "/rpc", &request);
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let answer: Value = serde_json::from_str(body).unwrap();
    answer["result"].clone()
}

#[test]
fn a_ledger_killed_with_signal_9_goes_on_where_it_was() {
    let dir = Dir::new("kill");
    let state = dir.file();
    let arguments = ["--close-ms", "30", "--state", state.to_str().unwrap()];
    let mut last = 0;
    let mut known: Vec<(String, Value)> = Vec::new();
    for round in 0..3 {
        let mut process = spawn(&arguments);
        let at = process.address.clone();
        let latest = rpc(&at, "getLatestLedger", &json!({}));
        assert!(latest["sequence"].as_u64().unwrap() >= last);
        for (hash, before) in &known {
            let answer = rpc(&at, "getTransaction", &json!({"hash": hash}));
            for field in ["status", "ledger", "resultMetaXdr", "envelopeXdr"] {
                assert_eq!(&answer[field], &before[field]);
            }
        }
        let key = Key::new(&format!("account {round}"));
        let answer = get(&at, &format!("/friendbot?addr={}", key.id()));
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let funded: Value = serde_json::from_str(body).unwrap();
        let hash = funded["hash"].as_str().unwrap().to_owned();
        let landed = rpc(&at, "getTransaction", &json!({"hash": hash}));
        assert_eq!(landed["status"], "SUCCESS");
        known.push((hash, landed));
        last = rpc(&at, "getLatestLedger", &json!({}))["sequence"]
            .as_u64()
            .unwrap();
        // On Unix this is SIGKILL.
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }
}

fn open(path: &Path) -> Result<Node, String> {
    let mut options = Options::for_test();
    options.state = Some(path.to_owned());
    Node::start(&options)
}

#[tokio::test]
async fn a_torn_last_record_is_cut_off() {
    let dir = Dir::new("torn");
    let key = Key::new("a");
    {
        let node = open(&dir.file()).unwrap();
        node.fund(key.id()).await.unwrap();
    }
    let whole = std::fs::read(dir.file()).unwrap();
    std::fs::write(dir.file(), &whole[..whole.len() - 3]).unwrap();
    let node = open(&dir.file()).unwrap();
    let view = node.view();
    assert_eq!(view.latest.seq(), 1);
    assert!(view.state.account(&key.id()).is_none());
    node.fund(key.id()).await.unwrap();
    drop(node);
    let node = open(&dir.file()).unwrap();
    assert!(node.view().state.account(&key.id()).is_some());
}

#[tokio::test]
async fn damage_in_the_middle_is_refused() {
    let dir = Dir::new("damage");
    {
        let node = open(&dir.file()).unwrap();
        node.fund(Key::new("a").id()).await.unwrap();
        node.fund(Key::new("b").id()).await.unwrap();
    }
    let mut whole = std::fs::read(dir.file()).unwrap();
    let middle = whole.len() / 4;
    whole[middle] ^= 1;
    std::fs::write(dir.file(), whole).unwrap();
    let error = open(&dir.file()).err().unwrap();
    assert!(error.contains("damaged"), "{error}");
}

#[test]
fn a_file_of_another_network_and_an_open_file_are_refused() {
    let dir = Dir::new("other");
    let node = open(&dir.file()).unwrap();
    let error = open(&dir.file()).err().unwrap();
    assert!(
        error.contains("another ledger has this file open"),
        "{error}"
    );
    drop(node);
    let mut options = Options::for_test();
    options.state = Some(dir.file());
    options.passphrase = "Another Network".into();
    let error = Node::start(&options).err().unwrap();
    assert!(error.contains("Standalone Network"), "{error}");
}

#[tokio::test]
async fn contracts_and_their_time_to_live_survive() {
    let dir = Dir::new("contracts");
    let mut options = Options::for_test();
    options.state = Some(dir.file());
    let (contract, archived) = {
        let net = Net::with(options.clone()).await;
        let a = net.fund("a").await;
        let contract = net.deploy(&a, DATA_WASM, vec![]).await;
        let put = vec![symbol("key"), symbol("one")];
        net.run_soroban(&a, invoke(&contract, "put", put)).await;
        let key = xdr::instance_key(&contract);
        net.rpc.node.set_ttl(key.clone(), 9_999_999).await.unwrap();
        (contract, key)
    };
    let net = Net::with(options).await;
    let view = net.rpc.node.view();
    assert_eq!(
        view.state.get(&archived).unwrap().live_until,
        Some(9_999_999)
    );
    let a = Key::new("a");
    let landed = net
        .run_soroban(&a, invoke(&contract, "get", vec![symbol("key")]))
        .await;
    assert_eq!(value(&landed), symbol("one"));
}

#[test]
fn a_taken_port_names_its_flag() {
    let process = spawn(&["--manual"]);
    let port = process.address.rsplit_once(':').unwrap().1;
    let output = Command::new(env!("CARGO_BIN_EXE_holdfast-ledger"))
        .args(["--port", port])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--port") && error.contains(port), "{error}");
}

#[test]
fn a_dropped_answer_closes_the_connection() {
    let process = spawn(&["--manual"]);
    let fault = json!({"kind": "drop_answer_before", "method": "getHealth"});
    let added = post(&process.address, "/admin/faults", &fault);
    assert!(added.starts_with("HTTP/1.1 201"), "{added}");
    let health = json!({"jsonrpc": "2.0", "id": 1, "method": "getHealth"});
    assert_eq!(post(&process.address, "/", &health), "");
    assert!(post(&process.address, "/", &health).contains("healthy"));
}

#[test]
fn pages_are_there_and_unknown_things_are_404() {
    let process = spawn(&["--manual"]);
    let at = &process.address;
    let key = Key::new("a");
    assert!(get(at, &format!("/friendbot?addr={}", key.id())).contains("successful"));
    for path in [
        "/".into(),
        "/ledger/2".into(),
        format!("/account/{}", key.id()),
    ] {
        let page = get(at, &path);
        assert!(page.starts_with("HTTP/1.1 200"), "{path}: {page}");
    }
    for path in [
        "/tx/00",
        "/ledger/99",
        "/account/G",
        "/contract/C",
        "/search?q=%3Cb%3E",
    ] {
        let page = get(at, path);
        assert!(page.starts_with("HTTP/1.1 404"), "{path}: {page}");
        assert!(!page.contains("<code><b>"));
    }
    assert!(get(at, "/admin").contains("hostile_simulation"));
    let refused = post(at, "/admin/faults", &json!({"kind": "earthquake"}));
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("lagging_node"));
}
