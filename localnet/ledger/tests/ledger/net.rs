//! A ledger in this process whose ledgers close when a test says so.

use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use holdfast_ledger::chain::LandedTx;
use holdfast_ledger::http::Server;
use holdfast_ledger::node::Advance;
use holdfast_ledger::options::Options;
use holdfast_ledger::rpc::{Reply, Rpc};
use holdfast_ledger::xdr;
use serde_json::{json, Value};
use stellar_xdr::*;

/// A key pair made from a word, so that every run has the same accounts.
#[derive(Clone)]
pub struct Key(pub SigningKey);

impl Key {
    pub fn new(word: &str) -> Self {
        Self(SigningKey::from_bytes(&xdr::sha256(word)))
    }

    pub fn raw(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub fn id(&self) -> AccountId {
        xdr::account_id(self.raw())
    }

    pub fn muxed(&self) -> MuxedAccount {
        MuxedAccount::Ed25519(Uint256(self.raw()))
    }

    pub fn address(&self) -> ScVal {
        ScVal::Address(ScAddress::Account(self.id()))
    }

    pub fn sign(&self, hash: &[u8; 32]) -> DecoratedSignature {
        let raw = self.raw();
        DecoratedSignature {
            hint: SignatureHint([raw[28], raw[29], raw[30], raw[31]]),
            signature: Signature(self.0.sign(hash).to_bytes().to_vec().try_into().unwrap()),
        }
    }
}

/// One operation of the transaction's source.
pub fn op(body: OperationBody) -> Operation {
    Operation {
        source_account: None,
        body,
    }
}

/// One operation of somebody else.
pub fn op_by(source: &Key, body: OperationBody) -> Operation {
    Operation {
        source_account: Some(source.muxed()),
        body,
    }
}

pub fn pay(to: &Key, stroops: i64) -> Operation {
    op(OperationBody::Payment(PaymentOp {
        destination: to.muxed(),
        asset: Asset::Native,
        amount: stroops,
    }))
}

pub fn usd(issuer: &Key) -> Asset {
    Asset::CreditAlphanum4(AlphaNum4 {
        asset_code: AssetCode4(*b"USDC"),
        issuer: issuer.id(),
    })
}

pub fn trust(asset: &Asset) -> Operation {
    let Asset::CreditAlphanum4(a) = asset else {
        panic!("four letters")
    };
    op(OperationBody::ChangeTrust(ChangeTrustOp {
        line: ChangeTrustAsset::CreditAlphanum4(a.clone()),
        limit: i64::MAX,
    }))
}

pub fn pay_asset(asset: &Asset, to: &Key, amount: i64) -> Operation {
    op(OperationBody::Payment(PaymentOp {
        destination: to.muxed(),
        asset: asset.clone(),
        amount,
    }))
}

pub fn options() -> SetOptionsOp {
    SetOptionsOp {
        inflation_dest: None,
        clear_flags: None,
        set_flags: None,
        master_weight: None,
        low_threshold: None,
        med_threshold: None,
        high_threshold: None,
        home_domain: None,
        signer: None,
    }
}

pub fn i128_val(n: i128) -> ScVal {
    holdfast_ledger::events::i128_val(n)
}

pub fn symbol(text: &str) -> ScVal {
    holdfast_ledger::events::symbol(text)
}

pub fn invoke(contract: &ContractId, function: &str, args: Vec<ScVal>) -> Operation {
    host(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: ScAddress::Contract(contract.clone()),
        function_name: function.try_into().unwrap(),
        args: args.try_into().unwrap(),
    }))
}

pub fn host(host_function: HostFunction) -> Operation {
    op(OperationBody::InvokeHostFunction(InvokeHostFunctionOp {
        host_function,
        auth: Default::default(),
    }))
}

pub struct Net {
    pub rpc: Arc<Rpc>,
}

pub struct Sent {
    pub status: String,
    pub hash: String,
    pub error: Option<TransactionResultResult>,
    pub result: Option<TransactionResult>,
}

impl Net {
    pub async fn new() -> Self {
        Self::with(Options::for_test()).await
    }

    pub async fn with(options: Options) -> Self {
        let server = Server::start(options).await.unwrap();
        Self { rpc: server.rpc() }
    }

    pub fn network_id(&self) -> [u8; 32] {
        self.rpc.node.network_id
    }

    pub async fn raw(&self, body: &str) -> Value {
        match self.rpc.handle(body.as_bytes(), 0).await {
            Reply::Answer(answer) => answer,
            Reply::Unavailable => json!("unavailable"),
            Reply::Drop => json!("dropped"),
        }
    }

    pub async fn call(&self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": "0x1", "method": method, "params": params});
        let answer = self.raw(&request.to_string()).await;
        match answer.get("result") {
            Some(result) => result.clone(),
            None => answer,
        }
    }

    pub async fn close(&self) -> u32 {
        self.advance(1).await
    }

    pub async fn advance(&self, count: u32) -> u32 {
        let advance = Advance {
            count,
            seconds_each: 0,
        };
        self.rpc.node.advance(advance).await.unwrap().seq()
    }

    pub async fn fund(&self, word: &str) -> Key {
        let key = Key::new(word);
        self.rpc.node.fund(key.id()).await.unwrap();
        key
    }

    pub fn account(&self, key: &Key) -> Option<AccountEntry> {
        self.rpc.node.view().state.account(&key.id()).cloned()
    }

    pub fn balance(&self, key: &Key) -> i64 {
        self.account(key).map_or(0, |a| a.balance)
    }

    pub fn sequence(&self, key: &Key) -> i64 {
        self.account(key).unwrap().seq_num.0
    }

    pub fn tokens(&self, key: &Key, asset: &Asset) -> i64 {
        let line = xdr::trustline_asset(asset);
        let view = self.rpc.node.view();
        view.state
            .trustline(&key.id(), &line)
            .map_or(-1, |l| l.balance)
    }

    /// A transaction with the next sequence number and the least fee.
    pub fn tx(&self, source: &Key, operations: Vec<Operation>) -> Transaction {
        Transaction {
            source_account: source.muxed(),
            fee: 100 * operations.len() as u32,
            seq_num: SequenceNumber(self.sequence(source) + 1),
            cond: Preconditions::None,
            memo: Memo::None,
            operations: operations.try_into().unwrap(),
            ext: TransactionExt::V0,
        }
    }

    pub fn sign(&self, tx: &Transaction, keys: &[&Key]) -> TransactionEnvelope {
        let hash = tx.hash(self.network_id()).unwrap();
        let signatures: Vec<_> = keys.iter().map(|k| k.sign(&hash)).collect();
        TransactionEnvelope::Tx(TransactionV1Envelope {
            tx: tx.clone(),
            signatures: signatures.try_into().unwrap(),
        })
    }

    pub fn bump(&self, inner: &TransactionEnvelope, payer: &Key, fee: i64) -> TransactionEnvelope {
        let TransactionEnvelope::Tx(inner) = inner else {
            panic!("an inner envelope")
        };
        let tx = FeeBumpTransaction {
            fee_source: payer.muxed(),
            fee,
            inner_tx: FeeBumpTransactionInnerTx::Tx(inner.clone()),
            ext: FeeBumpTransactionExt::V0,
        };
        let hash = tx.hash(self.network_id()).unwrap();
        TransactionEnvelope::TxFeeBump(FeeBumpTransactionEnvelope {
            tx,
            signatures: vec![payer.sign(&hash)].try_into().unwrap(),
        })
    }

    pub async fn send(&self, envelope: &TransactionEnvelope) -> Sent {
        let params = json!({"transaction": xdr::b64(envelope)});
        let answer = self.call("sendTransaction", params).await;
        let result: Option<TransactionResult> = answer["errorResultXdr"]
            .as_str()
            .map(|x| xdr::from_b64(x).unwrap());
        Sent {
            status: answer["status"].as_str().unwrap_or("").to_owned(),
            hash: answer["hash"].as_str().unwrap_or("").to_owned(),
            error: result.clone().map(|r| r.result),
            result,
        }
    }

    /// Sends what must be accepted, closes, and gives what landed.
    pub async fn land(&self, envelope: &TransactionEnvelope) -> LandedTx {
        let sent = self.send(envelope).await;
        assert_eq!(sent.status, "PENDING", "{:?}", sent.error);
        self.close().await;
        self.landed(&sent.hash).expect("it lands")
    }

    pub fn landed(&self, hash: &str) -> Option<LandedTx> {
        let hash: [u8; 32] = hex::decode(hash).unwrap().try_into().unwrap();
        let found = self.rpc.node.read(|c| c.find(&hash))?;
        Some(found.tx().clone())
    }

    /// Operations of the source's own, which must succeed.
    pub async fn run(&self, source: &Key, operations: Vec<Operation>) -> LandedTx {
        let envelope = self.sign(&self.tx(source, operations), &[source]);
        let landed = self.land(&envelope).await;
        assert!(landed.succeeded(), "{:?}", landed.result);
        landed
    }

    pub async fn simulate(&self, tx: &Transaction) -> Value {
        let envelope = self.sign(tx, &[]);
        let params = json!({"transaction": xdr::b64(&envelope)});
        self.call("simulateTransaction", params).await
    }

    /// Simulates and takes over footprint, fee and authorization.
    pub async fn prepare(&self, source: &Key, operation: Operation) -> Transaction {
        let mut tx = self.tx(source, vec![operation]);
        let answer = self.simulate(&tx).await;
        assert_eq!(answer.get("error"), None, "{answer}");
        let data: SorobanTransactionData =
            xdr::from_b64(answer["transactionData"].as_str().unwrap()).unwrap();
        tx.fee = 100 + u32::try_from(data.resource_fee).unwrap();
        tx.ext = TransactionExt::V1(data);
        if let Some(auth) = answer["results"][0]["auth"].as_array() {
            let auth: Vec<SorobanAuthorizationEntry> = auth
                .iter()
                .map(|a| xdr::from_b64(a.as_str().unwrap()).unwrap())
                .collect();
            let mut operations = tx.operations.to_vec();
            if let OperationBody::InvokeHostFunction(call) = &mut operations[0].body {
                call.auth = auth.try_into().unwrap();
            }
            tx.operations = operations.try_into().unwrap();
        }
        tx
    }

    pub async fn run_soroban(&self, source: &Key, operation: Operation) -> LandedTx {
        let tx = self.prepare(source, operation).await;
        let landed = self.land(&self.sign(&tx, &[source])).await;
        assert!(landed.succeeded(), "{:?}", landed.result);
        landed
    }

    pub async fn deploy_asset(&self, source: &Key, asset: &Asset) -> ContractId {
        let create = HostFunction::CreateContract(CreateContractArgs {
            contract_id_preimage: ContractIdPreimage::Asset(asset.clone()),
            executable: ContractExecutable::StellarAsset,
        });
        self.run_soroban(source, host(create)).await;
        xdr::asset_contract_id(&self.network_id(), asset)
    }

    /// Uploads and deploys a fixture.
    pub async fn deploy(&self, source: &Key, wasm: &[u8], args: Vec<ScVal>) -> ContractId {
        let upload = HostFunction::UploadContractWasm(wasm.to_vec().try_into().unwrap());
        self.run_soroban(source, host(upload)).await;
        let create = HostFunction::CreateContractV2(CreateContractArgsV2 {
            contract_id_preimage: ContractIdPreimage::Address(ContractIdPreimageFromAddress {
                address: ScAddress::Account(source.id()),
                salt: Uint256([7; 32]),
            }),
            executable: ContractExecutable::Wasm(Hash(xdr::sha256(wasm))),
            constructor_args: args.try_into().unwrap(),
        });
        let landed = self.run_soroban(source, host(create)).await;
        match value(&landed) {
            ScVal::Address(ScAddress::Contract(id)) => id,
            other => panic!("a contract, not {other:?}"),
        }
    }

    pub async fn fault(&self, request: Value) {
        let request = serde_json::from_value(request).unwrap();
        self.rpc.node.faults.add(request).unwrap();
    }
}

pub fn meta(landed: &LandedTx) -> &TransactionMetaV4 {
    match &landed.meta {
        TransactionMeta::V4(meta) => meta,
        _ => panic!("meta of version 4"),
    }
}

pub fn value(landed: &LandedTx) -> ScVal {
    let meta = meta(landed).soroban_meta.as_ref().expect("a contract call");
    meta.return_value.clone().expect("a return value")
}

/// The one operation result of a failed transaction.
pub fn first_result(result: &TransactionResultResult) -> OperationResult {
    use InnerTransactionResultResult as I;
    use TransactionResultResult as R;
    match result {
        R::TxFailed(ops) | R::TxSuccess(ops) => ops[0].clone(),
        R::TxFeeBumpInnerFailed(pair) | R::TxFeeBumpInnerSuccess(pair) => match &pair.result.result
        {
            I::TxFailed(ops) | I::TxSuccess(ops) => ops[0].clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

pub const DATA_WASM: &[u8] = include_bytes!("../fixtures/contract_data.wasm");
pub const CONSTRUCTOR_WASM: &[u8] = include_bytes!("../fixtures/contract_with_constructor.wasm");
