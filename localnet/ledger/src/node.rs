//! The writer: one thread owns the ledger, closes it, and answers those who
//! would change it. Readers take views.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stellar_xdr::{AccountId, LedgerKey, TransactionEnvelope};
use tokio::sync::oneshot;

use crate::chain::{Chain, ClosedLedger, Found, View};
use crate::close;
use crate::config::{Network, MAX_SOROBAN_TXS, MAX_TX_SET_OPERATIONS};
use crate::faults::{Faults, Kind};
use crate::friendbot;
use crate::host::ContractHost;
use crate::options::Options;
use crate::queue::{Admission, Queue};
use crate::state::{durability, State, Txn};
use crate::store::{Delta, Store};
use crate::tx::Tx;
use crate::xdr;

/// The host recurses; stellar-rpc gives it as much.
pub const STACK_BYTES: usize = 128 * 1024 * 1024;
/// How soon an idle writer looks at faults that stall it.
const STALL_POLL: Duration = Duration::from_millis(20);

/// What a client is told about its transaction.
pub struct Submission {
    /// Accepted, or why not.
    pub admission: Admission,
    /// Hash by which the network knows it.
    pub hash: [u8; 32],
    /// Whether the same envelope waits or has landed already.
    pub resent: bool,
}

enum Command {
    Submit(Box<Tx>, oneshot::Sender<Submission>),
    Fund(AccountId, oneshot::Sender<Result<Found, String>>),
    Advance(Advance, oneshot::Sender<Result<Arc<ClosedLedger>, String>>),
    SetTtl(LedgerKey, u32, oneshot::Sender<Result<(), String>>),
    Reset(oneshot::Sender<Result<Arc<ClosedLedger>, String>>),
    Stop,
}

/// Ledgers to close at once.
#[derive(Clone, Copy, Debug)]
pub struct Advance {
    /// How many.
    pub count: u32,
    /// Seconds that the network's clock moves ahead with each.
    pub seconds_each: u64,
}

/// A running ledger.
pub struct Node {
    commands: Sender<Command>,
    chain: Arc<RwLock<Chain>>,
    /// sha256 of the passphrase.
    pub network_id: [u8; 32],
    /// Active faults.
    pub faults: Arc<Faults>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// Opens the state and starts the writer.
    pub fn start(options: &Options) -> Result<Self, String> {
        let network_id = xdr::sha256(options.passphrase.as_bytes());
        let faults = Arc::new(Faults::default());
        let (store, loaded) = match &options.state {
            Some(path) => {
                let (store, loaded) =
                    Store::open(path, &options.passphrase, options.retention_ledgers)?;
                (Some(store), loaded)
            }
            None => (None, None),
        };
        let fresh = loaded.is_none();
        let (chain, state) = match loaded {
            Some(loaded) => (loaded.chain, loaded.state),
            None => begin(options, network_id, unix_now()),
        };
        let chain = Arc::new(RwLock::new(chain));
        let (commands, inbox) = channel();
        let mut writer = Writer {
            options: options.clone(),
            network_id,
            network: Arc::new(Network::load(&state)?),
            host: ContractHost::with_state(&state).map_err(|e| format!("{e:?}"))?,
            state,
            chain: chain.clone(),
            queue: Queue::default(),
            store,
            faults: faults.clone(),
            funds: Vec::new(),
            clock_ahead: 0,
        };
        if fresh {
            writer.rewrite_store()?;
        }
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                // Without its writer the ledger would only seem to be alive.
                if catch_unwind(AssertUnwindSafe(|| writer.run(&inbox))).is_err() {
                    fail("the writer panicked; the state file holds every closed ledger");
                }
            })
            .map_err(|e| e.to_string())?;
        Ok(Self {
            commands,
            chain,
            network_id,
            faults,
            thread: Mutex::new(Some(thread)),
        })
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .map_err(|_| "the ledger has stopped".to_owned())?;
        answer
            .await
            .map_err(|_| "the ledger has stopped".to_owned())
    }

    /// Sends a transaction to the queue.
    pub async fn submit(&self, envelope: TransactionEnvelope) -> Result<Submission, String> {
        let tx = Tx::new(envelope, &self.network_id)?;
        self.ask(|reply| Command::Submit(Box::new(tx), reply)).await
    }

    /// Gives an account its first lumens, in the next ledger.
    pub async fn fund(&self, account: AccountId) -> Result<Found, String> {
        self.ask(|reply| Command::Fund(account, reply)).await?
    }

    /// Closes ledgers now.
    pub async fn advance(&self, advance: Advance) -> Result<Arc<ClosedLedger>, String> {
        self.ask(|reply| Command::Advance(advance, reply)).await?
    }

    /// Forces the last ledger of a contract entry.
    pub async fn set_ttl(&self, key: LedgerKey, live_until: u32) -> Result<(), String> {
        self.ask(|reply| Command::SetTtl(key, live_until, reply))
            .await?
    }

    /// Begins the network anew.
    pub async fn reset(&self) -> Result<Arc<ClosedLedger>, String> {
        self.ask(Command::Reset).await?
    }

    /// Reads the chain under its lock: keep it short.
    pub fn read<T>(&self, look: impl FnOnce(&Chain) -> T) -> T {
        look(&self.chain.read().unwrap_or_else(|e| e.into_inner()))
    }

    /// The newest view.
    pub fn view(&self) -> View {
        self.read(Chain::view)
    }

    /// Stops the writer and waits for it.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
        let thread = self.thread.lock().map_or(None, |mut t| t.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

fn begin(options: &Options, network_id: [u8; 32], time: u64) -> (Chain, State) {
    let (genesis, state) = close::genesis(network_id, options.close_ms, time);
    let chain = Chain::new(
        Arc::new(genesis),
        Some(state.clone()),
        options.retention_ledgers,
    );
    (chain, state)
}

type FundReply = oneshot::Sender<Result<Found, String>>;

struct Writer {
    options: Options,
    network_id: [u8; 32],
    network: Arc<Network>,
    host: ContractHost,
    state: State,
    chain: Arc<RwLock<Chain>>,
    queue: Queue,
    store: Option<Store>,
    faults: Arc<Faults>,
    funds: Vec<(AccountId, FundReply)>,
    /// Seconds by which the network's clock was moved ahead.
    clock_ahead: u64,
}

impl Writer {
    fn run(&mut self, inbox: &Receiver<Command>) {
        let every = Duration::from_millis(u64::from(self.options.close_ms));
        let mut next_close = Instant::now() + every;
        loop {
            let wait = if self.options.manual {
                Duration::from_secs(3600)
            } else {
                next_close.saturating_duration_since(Instant::now())
            };
            match inbox.recv_timeout(wait) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(command) => {
                    if let Err(e) = self.handle(command) {
                        return fail(&e);
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.options.manual => {}
                Err(RecvTimeoutError::Timeout) => {
                    if self.faults.take(Kind::StalledLedger, "").is_some() {
                        next_close = Instant::now() + every.min(STALL_POLL.max(every / 4));
                        continue;
                    }
                    if let Err(e) = self.close_once(self.step_seconds(), true) {
                        return fail(&e);
                    }
                    // A slow close moves the rhythm instead of piling up closes.
                    next_close = (next_close + every).max(Instant::now());
                }
            }
        }
    }

    /// An error here means that the state file can't be written: nothing may be
    /// acknowledged any more.
    fn handle(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Submit(tx, reply) => {
                let _ = reply.send(self.submit(*tx));
            }
            Command::Fund(account, reply) => {
                if self.state.account(&account).is_some() {
                    let _ = reply.send(Err(friendbot::ALREADY_FUNDED.into()));
                } else {
                    self.funds.push((account, reply));
                    if self.options.manual {
                        self.close_once(self.step_seconds(), true)?;
                    }
                }
            }
            Command::Advance(advance, reply) => {
                let answer = self.advance(advance)?;
                let _ = reply.send(Ok(answer));
            }
            Command::SetTtl(key, live_until, reply) => {
                let answer = self.set_ttl(&key, live_until)?;
                let _ = reply.send(answer);
            }
            Command::Reset(reply) => {
                let answer = self.reset()?;
                let _ = reply.send(Ok(answer));
            }
            Command::Stop => {}
        }
        Ok(())
    }

    /// Ledgers of a second or more have strictly rising close times, as on the
    /// public network; faster ones may share a second, so that the network's
    /// clock does not run away from everybody else's.
    fn step_seconds(&self) -> u64 {
        u64::from(self.options.close_ms >= 1_000 && !self.options.manual)
    }

    fn now(&self) -> u64 {
        unix_now() + self.clock_ahead
    }

    fn latest(&self) -> Arc<ClosedLedger> {
        let chain = self.chain.read().unwrap_or_else(|e| e.into_inner());
        chain.latest().clone()
    }

    fn submit(&mut self, tx: Tx) -> Submission {
        let hash = tx.hash();
        let landed = {
            let chain = self.chain.read().unwrap_or_else(|e| e.into_inner());
            chain.find(&tx.inner_hash).is_some()
        };
        let resent = landed || self.queue.contains(&tx.inner_hash);
        let ctx = close::next_context(
            &self.latest(),
            &self.network,
            self.network_id,
            self.now(),
            self.step_seconds(),
        );
        let admission = self.queue.admit(&self.state, tx, &ctx);
        Submission {
            admission,
            hash,
            resent,
        }
    }

    fn close_once(&mut self, step: u64, durable: bool) -> Result<Arc<ClosedLedger>, String> {
        let previous = self.latest();
        let ctx = close::next_context(&previous, &self.network, self.network_id, self.now(), step);
        let mut txs = self.queue.take(
            &self.state,
            &ctx,
            MAX_TX_SET_OPERATIONS as usize,
            MAX_SOROBAN_TXS as usize,
        );
        // Whoever has no room in one transaction waits for the next ledger.
        let room = self.funds.len().min(friendbot::OPERATIONS_MAX);
        let funds: Vec<_> = self.funds.drain(..room).collect();
        let wanted: Vec<AccountId> = funds.iter().map(|f| f.0.clone()).collect();
        let gift = friendbot::transaction(&self.state, &self.network_id, &wanted);
        txs.extend(gift);
        let (closed, txn) = close::close(&previous, self.state.clone(), txs, &ctx, &self.host);
        let closed = Arc::new(closed);
        self.record(&closed, txn, durable)?;
        self.answer_funds(funds, &closed);
        Ok(closed)
    }

    /// Writes first, then shows: what a reader has seen survives a crash.
    fn record(
        &mut self,
        closed: &Arc<ClosedLedger>,
        txn: Txn,
        durable: bool,
    ) -> Result<(), String> {
        let mut settings_changed = false;
        let delta: Delta = txn
            .touched()
            .map(|(key, _)| {
                settings_changed |= matches!(key, LedgerKey::ConfigSetting(_));
                (key.clone(), txn.state().get(key).cloned())
            })
            .collect();
        if let Some(store) = &mut self.store {
            store.append_ledger(closed, &delta, durable && !closed.txs.is_empty())?;
        }
        self.state = txn.into_state();
        if settings_changed {
            self.network = Arc::new(Network::load(&self.state)?);
        }
        {
            let mut chain = self.chain.write().unwrap_or_else(|e| e.into_inner());
            chain.push(closed.clone(), Some(self.state.clone()));
        }
        if self.store.as_ref().is_some_and(Store::wants_compaction) {
            self.rewrite_store()?;
        }
        Ok(())
    }

    fn rewrite_store(&mut self) -> Result<(), String> {
        if let Some(store) = &mut self.store {
            let chain = self.chain.read().unwrap_or_else(|e| e.into_inner());
            store.rewrite(&chain, &self.state)?;
        }
        Ok(())
    }

    fn answer_funds(&self, funds: Vec<(AccountId, FundReply)>, closed: &Arc<ClosedLedger>) {
        for (account, reply) in funds {
            let index = closed
                .txs
                .iter()
                .position(|t| t.succeeded() && friendbot::funds(&t.envelope, &account));
            let _ = reply.send(match index {
                Some(index) => Ok(Found {
                    ledger: closed.clone(),
                    index,
                }),
                None if self.state.account(&account).is_some() => {
                    Err(friendbot::ALREADY_FUNDED.into())
                }
                None => Err("friendbot's transaction failed; try again".into()),
            });
        }
    }

    fn advance(&mut self, advance: Advance) -> Result<Arc<ClosedLedger>, String> {
        let mut closed = self.latest();
        for _ in 0..advance.count {
            self.clock_ahead += advance.seconds_each;
            closed = self.close_once(0, false)?;
        }
        Ok(closed)
    }

    fn set_ttl(&mut self, key: &LedgerKey, live_until: u32) -> Result<Result<(), String>, String> {
        if durability(key).is_none() {
            return Ok(Err(
                "only contract data and contract code have a time to live".into(),
            ));
        }
        if self.state.get(key).is_none() {
            return Ok(Err("no such entry".into()));
        }
        // The change belongs to a ledger like any other, so that it survives a
        // restart and every reader sees it from one ledger on.
        let previous = self.latest();
        let step = self.step_seconds();
        let ctx = close::next_context(&previous, &self.network, self.network_id, self.now(), step);
        let mut txn = Txn::new(self.state.clone(), ctx.seq);
        txn.set_live_until(key, live_until);
        let forced = txn.state().clone();
        let (closed, after) = close::close(&previous, forced, Vec::new(), &ctx, &self.host);
        txn.commit(after);
        self.record(&Arc::new(closed), txn, true)?;
        Ok(Ok(()))
    }

    fn reset(&mut self) -> Result<Arc<ClosedLedger>, String> {
        // Another close time makes another genesis, even within a second.
        let first = {
            let chain = self.chain.read().unwrap_or_else(|e| e.into_inner());
            chain.oldest().close_time()
        };
        let time = self.now().max(first + 1);
        let (chain, state) = begin(&self.options, self.network_id, time);
        self.network = Arc::new(Network::load(&state)?);
        self.host = ContractHost::with_state(&state).map_err(|e| format!("{e:?}"))?;
        self.state = state;
        self.queue = Queue::default();
        self.clock_ahead = 0;
        *self.chain.write().unwrap_or_else(|e| e.into_inner()) = chain;
        self.rewrite_store()?;
        Ok(self.latest())
    }
}

/// The ledger can't go on: better no ledger than one that forgets.
fn fail(error: &str) {
    eprintln!("holdfast-ledger: {error}");
    std::process::exit(1);
}
