// The JavaScript SDK's own clients, unmodified, against the local ledger.
// LEDGER_URL and LEDGER_FIXTURES come from the caller (test_javascript_sdk.py).
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import {
  Asset,
  BASE_FEE,
  Contract,
  Keypair,
  Operation,
  TransactionBuilder,
  contract,
  nativeToScVal,
  rpc,
  scValToNative,
} from "@stellar/stellar-sdk";

const url = process.env.LEDGER_URL;
const fixtures = process.env.LEDGER_FIXTURES;
const networkPassphrase = "Standalone Network ; February 2017";
const server = new rpc.Server(url, { allowHttp: true });

const issuer = Keypair.random();
const payer = Keypair.random();
const payee = Keypair.random();
const feeAccount = Keypair.random();
const usd = new Asset("USDC", issuer.publicKey());

async function send(transaction) {
  const sent = await server.sendTransaction(transaction);
  assert.equal(sent.status, "PENDING", JSON.stringify(sent.errorResult));
  const found = await server.pollTransaction(sent.hash, {
    attempts: 100,
    sleepStrategy: () => 100,
  });
  assert.equal(found.status, "SUCCESS");
  return found;
}

async function build(source, ...operations) {
  const account = await server.getAccount(source.publicKey());
  const builder = new TransactionBuilder(account, {
    fee: BASE_FEE,
    networkPassphrase,
  });
  operations.forEach((operation) => builder.addOperation(operation));
  return builder.setTimeout(60).build();
}

async function run(source, ...operations) {
  const transaction = await build(source, ...operations);
  transaction.sign(source);
  return send(transaction);
}

async function runSoroban(source, operation) {
  const prepared = await server.prepareTransaction(await build(source, operation));
  prepared.sign(source);
  return send(prepared);
}

before(async () => {
  for (const key of [issuer, payer, payee, feeAccount]) {
    await server.requestAirdrop(key.publicKey());
  }
});

test("what the network is", async () => {
  assert.equal((await server.getHealth()).status, "healthy");
  const network = await server.getNetwork();
  assert.equal(network.passphrase, networkPassphrase);
  assert.equal(Number(network.protocolVersion), 28);
  const latest = await server.getLatestLedger();
  assert.ok(latest.sequence > 1);
  const fees = await server.getFeeStats();
  assert.ok(Number(fees.inclusionFee.max) >= 100);
  assert.ok((await server.getVersionInfo()).version);
});

test("trust, pay, and move tokens by the asset's contract", async () => {
  await run(payer, Operation.changeTrust({ asset: usd }));
  await run(payee, Operation.changeTrust({ asset: usd }));
  await run(
    issuer,
    Operation.payment({ destination: payer.publicKey(), asset: usd, amount: "100" }),
  );
  await runSoroban(issuer, Operation.createStellarAssetContract({ asset: usd }));
  const token = new Contract(usd.contractId(networkPassphrase));
  const transfer = token.call(
    "transfer",
    nativeToScVal(payer.publicKey(), { type: "address" }),
    nativeToScVal(payee.publicKey(), { type: "address" }),
    nativeToScVal(300000000n, { type: "i128" }),
  );
  const found = await runSoroban(payer, transfer);
  const events = await server.getEvents({
    startLedger: found.ledger,
    filters: [{ type: "contract", contractIds: [token.contractId()] }],
    limit: 10,
  });
  assert.equal(events.events.length, 1);
  assert.equal(scValToNative(events.events[0].topic[0]), "transfer");
});

test("a contract from its code, by the generated client", async () => {
  const wasm = readFileSync(`${fixtures}/contract_with_constructor.wasm`);
  const uploaded = await runSoroban(payer, Operation.uploadContractWasm({ wasm }));
  const signer = contract.basicNodeSigner(payer, networkPassphrase);
  const options = {
    rpcUrl: url,
    allowHttp: true,
    networkPassphrase,
    publicKey: payer.publicKey(),
    ...signer,
  };
  const deploying = await contract.Client.deploy(
    { init_key: 5, init_value: 7n },
    { ...options, wasmHash: scValToNative(uploaded.returnValue) },
  );
  const { result: client } = await deploying.signAndSend();
  const { result } = await client.get_data({ key: { tag: "Persistent", values: [5] } });
  assert.equal(result, 7n);
});

test("a fee bump pays from its own account", async () => {
  const inner = await build(
    payer,
    Operation.payment({
      destination: payee.publicKey(),
      asset: Asset.native(),
      amount: "1",
    }),
  );
  inner.sign(payer);
  const bump = TransactionBuilder.buildFeeBumpTransaction(
    feeAccount,
    "1000",
    inner,
    networkPassphrase,
  );
  bump.sign(feeAccount);
  const found = await send(bump);
  assert.equal(found.feeBump, true);
  const byInner = await server.getTransaction(inner.hash().toString("hex"));
  assert.equal(byInner.status, "SUCCESS");
});

test("a missing trustline fails the simulation with contract error 13", async () => {
  const token = new Contract(usd.contractId(networkPassphrase));
  const transaction = await build(
    payer,
    token.call(
      "transfer",
      nativeToScVal(payer.publicKey(), { type: "address" }),
      nativeToScVal(feeAccount.publicKey(), { type: "address" }),
      nativeToScVal(1n, { type: "i128" }),
    ),
  );
  const simulated = await server.simulateTransaction(transaction);
  assert.ok(rpc.Api.isSimulationError(simulated));
  assert.match(simulated.error, /Error\(Contract, #13\)/);
});

test("history: ledgers and transactions", async () => {
  const latest = await server.getLatestLedger();
  const from = Math.max(2, latest.sequence - 20);
  const ledgers = await server.getLedgers({ startLedger: from, pagination: { limit: 5 } });
  assert.equal(ledgers.ledgers[0].sequence, from);
  const transactions = await server.getTransactions({ startLedger: 2 });
  assert.ok(transactions.transactions.length > 0);
});
