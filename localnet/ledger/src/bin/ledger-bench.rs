//! How fast the ledger is: asset transfers applied a second, and simulations.
//!
//! `cargo run --release --bin ledger-bench`

use std::time::{Duration, Instant};

use ed25519_dalek::{Signer as _, SigningKey};
use holdfast_ledger::events::{i128_val, symbol};
use holdfast_ledger::http::Server;
use holdfast_ledger::node::Advance;
use holdfast_ledger::options::Options;
use holdfast_ledger::rpc::{Reply, Rpc};
use holdfast_ledger::xdr;
use serde_json::{json, Value};
use stellar_xdr::*;

const PAYERS: usize = 300;
const ROUNDS: usize = 5;
const SIMULATIONS: usize = 300;

type Failure = Box<dyn std::error::Error>;

struct Bench {
    rpc: std::sync::Arc<Rpc>,
}

fn key(word: &str) -> SigningKey {
    SigningKey::from_bytes(&xdr::sha256(word))
}

fn id(key: &SigningKey) -> AccountId {
    xdr::account_id(key.verifying_key().to_bytes())
}

fn address(key: &SigningKey) -> ScVal {
    ScVal::Address(ScAddress::Account(id(key)))
}

impl Bench {
    async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        match self.rpc.handle(body.to_string().as_bytes(), 0).await {
            Reply::Answer(answer) => Ok(answer["result"].clone()),
            _ => Err("no answer".into()),
        }
    }

    async fn close(&self) -> Result<usize, Failure> {
        let once = Advance {
            count: 1,
            seconds_each: 0,
        };
        let ledger = self.rpc.node.advance(once).await?;
        Ok(ledger.txs.iter().filter(|t| t.succeeded()).count())
    }

    fn unsigned(&self, source: &SigningKey, body: OperationBody) -> Result<Transaction, Failure> {
        let view = self.rpc.node.view();
        let account = view.state.account(&id(source)).ok_or("no such account")?;
        let operation = Operation {
            source_account: None,
            body,
        };
        Ok(Transaction {
            source_account: MuxedAccount::Ed25519(Uint256(source.verifying_key().to_bytes())),
            fee: 100,
            seq_num: SequenceNumber(account.seq_num.0 + 1),
            cond: Preconditions::None,
            memo: Memo::None,
            operations: vec![operation].try_into()?,
            ext: TransactionExt::V0,
        })
    }

    fn sign(&self, tx: Transaction, by: &SigningKey) -> Result<String, Failure> {
        let hash = tx.hash(self.rpc.node.network_id)?;
        let raw = by.verifying_key().to_bytes();
        let signature = DecoratedSignature {
            hint: SignatureHint([raw[28], raw[29], raw[30], raw[31]]),
            signature: Signature(by.sign(&hash).to_bytes().to_vec().try_into()?),
        };
        Ok(xdr::b64(&TransactionEnvelope::Tx(TransactionV1Envelope {
            tx,
            signatures: vec![signature].try_into()?,
        })))
    }

    async fn simulate(&self, tx: &Transaction) -> Result<Value, Failure> {
        let envelope = TransactionEnvelope::from(tx.clone());
        let params = json!({"transaction": xdr::b64(&envelope)});
        self.call("simulateTransaction", params).await
    }

    async fn prepare(&self, mut tx: Transaction) -> Result<Transaction, Failure> {
        let answer = self.simulate(&tx).await?;
        let data = answer["transactionData"]
            .as_str()
            .ok_or_else(|| answer.to_string())?;
        let data: SorobanTransactionData = xdr::from_b64(data)?;
        tx.fee = 100 + u32::try_from(data.resource_fee)?;
        tx.ext = TransactionExt::V1(data);
        let mut operations = tx.operations.to_vec();
        if let OperationBody::InvokeHostFunction(call) = &mut operations[0].body {
            let mut auth = Vec::new();
            for entry in answer["results"][0]["auth"]
                .as_array()
                .into_iter()
                .flatten()
            {
                auth.push(xdr::from_b64(entry.as_str().unwrap_or_default())?);
            }
            call.auth = auth.try_into()?;
        }
        tx.operations = operations.try_into()?;
        Ok(tx)
    }

    async fn send(&self, transaction: String) -> Result<(), Failure> {
        let params = json!({"transaction": transaction});
        let answer = self.call("sendTransaction", params).await?;
        if answer["status"] == "PENDING" {
            Ok(())
        } else {
            Err(answer.to_string().into())
        }
    }

    fn transfer(
        &self,
        token: &ContractId,
        from: &SigningKey,
        to: &SigningKey,
    ) -> Result<Transaction, Failure> {
        let args = vec![address(from), address(to), i128_val(1)];
        let function = InvokeContractArgs {
            contract_address: ScAddress::Contract(token.clone()),
            function_name: match symbol("transfer") {
                ScVal::Symbol(name) => name,
                _ => return Err("a symbol".into()),
            },
            args: args.try_into()?,
        };
        self.unsigned(
            from,
            OperationBody::InvokeHostFunction(InvokeHostFunctionOp {
                host_function: HostFunction::InvokeContract(function),
                auth: Default::default(),
            }),
        )
    }
}

async fn set_up(bench: &Bench) -> Result<(ContractId, Vec<SigningKey>, Vec<SigningKey>), Failure> {
    let named = |kind: &str| -> Vec<SigningKey> {
        (0..PAYERS).map(|i| key(&format!("{kind} {i}"))).collect()
    };
    let (payers, payees) = (named("payer"), named("payee"));
    for account in payers.iter().chain(&payees) {
        bench.rpc.node.fund(id(account)).await?;
    }
    let create = OperationBody::InvokeHostFunction(InvokeHostFunctionOp {
        host_function: HostFunction::CreateContract(CreateContractArgs {
            contract_id_preimage: ContractIdPreimage::Asset(Asset::Native),
            executable: ContractExecutable::StellarAsset,
        }),
        auth: Default::default(),
    });
    let tx = bench.unsigned(&payers[0], create)?;
    let tx = bench.prepare(tx).await?;
    bench.send(bench.sign(tx, &payers[0])?).await?;
    bench.close().await?;
    let token = xdr::asset_contract_id(&bench.rpc.node.network_id, &Asset::Native);
    Ok((token, payers, payees))
}

async fn run() -> Result<(), Failure> {
    let mut options = Options::for_test();
    let state = std::env::temp_dir().join(format!("ledger-bench-{}", std::process::id()));
    options.state = Some(state.clone());
    let server = Server::start(options).await?;
    let bench = Bench { rpc: server.rpc() };
    let (token, payers, payees) = set_up(&bench).await?;

    let mut times = Vec::new();
    for i in 0..SIMULATIONS {
        let tx = bench.transfer(&token, &payers[i % PAYERS], &payees[i % PAYERS])?;
        let begun = Instant::now();
        bench.simulate(&tx).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;

    let (mut applied, mut sending, mut closing) = (0, Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        let mut envelopes = Vec::new();
        for (from, to) in payers.iter().zip(&payees) {
            let tx = bench.prepare(bench.transfer(&token, from, to)?).await?;
            envelopes.push(bench.sign(tx, from)?);
        }
        let begun = Instant::now();
        for envelope in envelopes {
            bench.send(envelope).await?;
        }
        sending += begun.elapsed();
        let begun = Instant::now();
        applied += bench.close().await?;
        closing += begun.elapsed();
    }
    let expected = PAYERS * ROUNDS;
    if applied != expected {
        return Err(format!("{applied} of {expected} transfers succeeded").into());
    }
    let rate = |time: Duration| applied as f64 / time.as_secs_f64();
    println!(
        "asset transfers applied a second:           {:8.0}",
        rate(closing)
    );
    println!(
        "asset transfers sent and applied a second:  {:8.0}",
        rate(sending + closing)
    );
    println!(
        "simulate p50: {:.2} ms, p95: {:.2} ms, p99: {:.2} ms",
        at(50),
        at(95),
        at(99)
    );
    let _ = std::fs::remove_file(state);
    Ok(())
}

fn main() -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(run())
}
