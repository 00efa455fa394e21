//! The ledger on disk: an append-only log of checksummed records.
//!
//! A closed ledger is written before anybody hears of it. A record that a crash
//! tore is cut off at the next start; damage anywhere else is refused. When the
//! log has grown enough, it is rewritten as one state and the retained history.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stellar_xdr::{LedgerEntry, LedgerHeaderHistoryEntry, LedgerKey, ReadXdr};

use crate::chain::{Chain, ClosedLedger, LandedTx};
use crate::state::{State, Stored};
use crate::xdr;

const MAGIC: &[u8; 8] = b"HFLEDG01";
const KIND_STATE: u8 = 1;
const KIND_LEDGER: u8 = 2;
/// The log is rewritten when it is this large and four times its compact size.
const COMPACT_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// Changed entries of one ledger, as the log keeps them.
pub type Delta = Vec<(LedgerKey, Option<Arc<Stored>>)>;

/// An open log.
pub struct Store {
    path: PathBuf,
    file: File,
    passphrase: String,
    bytes: u64,
    compact_bytes: u64,
}

/// What a log held.
pub struct Loaded {
    /// History.
    pub chain: Chain,
    /// Entries as of the newest ledger.
    pub state: State,
}

fn put(out: &mut Vec<u8>, data: &[u8]) {
    let len = u32::try_from(data.len()).expect("a record part is below 4 GiB");
    out.extend(len.to_be_bytes());
    out.extend(data);
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        if self.0.len() < len {
            return Err("a record is shorter than it says".into());
        }
        let (head, tail) = self.0.split_at(len);
        self.0 = tail;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let raw: [u8; 4] = self.take(4)?.try_into().map_err(|_| "four bytes")?;
        Ok(u32::from_be_bytes(raw))
    }

    fn part(&mut self) -> Result<&'a [u8], String> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    fn xdr<T: ReadXdr>(&mut self) -> Result<T, String> {
        xdr::from_bytes(self.part()?).map_err(|e| e.to_string())
    }

    fn hash(&mut self) -> Result<[u8; 32], String> {
        self.take(32)?
            .try_into()
            .map_err(|_| "a hash has 32 bytes".into())
    }
}

fn put_stored(out: &mut Vec<u8>, stored: &Stored) {
    put(out, &xdr::bytes(&stored.entry));
    out.extend(stored.live_until.unwrap_or(0).to_be_bytes());
    out.extend(stored.ttl_modified.to_be_bytes());
}

fn read_stored(cursor: &mut Cursor) -> Result<Stored, String> {
    let entry: LedgerEntry = cursor.xdr()?;
    let live_until = cursor.u32()?;
    let ttl_modified = cursor.u32()?;
    let has_ttl = crate::state::durability(&entry.to_key()).is_some();
    Ok(Stored {
        entry,
        live_until: has_ttl.then_some(live_until),
        ttl_modified,
    })
}

fn encode_state(seq: u32, state: &State) -> Vec<u8> {
    let mut out = vec![KIND_STATE];
    out.extend(seq.to_be_bytes());
    out.extend((state.len() as u32).to_be_bytes());
    for (_, stored) in state.iter() {
        put_stored(&mut out, stored);
    }
    out
}

fn encode_ledger(ledger: &ClosedLedger, delta: &Delta) -> Vec<u8> {
    let mut out = vec![KIND_LEDGER];
    put(&mut out, &xdr::bytes(&ledger.header_entry()));
    out.extend((ledger.txs.len() as u32).to_be_bytes());
    for tx in &ledger.txs {
        out.extend(tx.hash);
        out.extend(tx.inner_hash);
        put(&mut out, &xdr::bytes(&tx.envelope));
        put(&mut out, &xdr::bytes(&tx.result));
        put(&mut out, &xdr::bytes(&tx.meta));
        put(&mut out, &xdr::bytes(&tx.fee_changes));
        put(&mut out, &xdr::bytes(&tx.refund_changes));
    }
    out.extend((delta.len() as u32).to_be_bytes());
    for (key, stored) in delta {
        match stored {
            Some(stored) => {
                out.push(1);
                put_stored(&mut out, stored);
            }
            None => {
                out.push(0);
                put(&mut out, &xdr::bytes(key));
            }
        }
    }
    out
}

fn decode_ledger(cursor: &mut Cursor) -> Result<(ClosedLedger, Delta), String> {
    let entry: LedgerHeaderHistoryEntry = cursor.xdr()?;
    let mut txs = Vec::new();
    for _ in 0..cursor.u32()? {
        txs.push(LandedTx {
            hash: cursor.hash()?,
            inner_hash: cursor.hash()?,
            envelope: cursor.xdr()?,
            result: cursor.xdr()?,
            meta: cursor.xdr()?,
            fee_changes: cursor.xdr()?,
            refund_changes: cursor.xdr()?,
        });
    }
    let mut delta = Vec::new();
    for _ in 0..cursor.u32()? {
        if cursor.take(1)? == [1] {
            let stored = read_stored(cursor)?;
            delta.push((stored.entry.to_key(), Some(Arc::new(stored))));
        } else {
            delta.push((cursor.xdr()?, None));
        }
    }
    let ledger = ClosedLedger {
        header: entry.header,
        hash: entry.hash,
        txs,
    };
    Ok((ledger, delta))
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 8);
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(crc32fast::hash(payload).to_be_bytes());
    out.extend(payload);
    out
}

fn file_head(passphrase: &str) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put(&mut out, passphrase.as_bytes());
    out
}

impl Store {
    /// Opens or makes a log. Gives what it held, if it held a ledger.
    pub fn open(
        path: &Path,
        passphrase: &str,
        retention: u32,
    ) -> Result<(Self, Option<Loaded>), String> {
        let shown = path.display();
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| format!("--state {shown}: {e}"))?;
        }
        let mut file = open_locked(path)?;
        let mut raw = Vec::new();
        file.read_to_end(&mut raw)
            .map_err(|e| format!("--state {shown}: {e}"))?;
        let head = file_head(passphrase);
        let mut store = Self {
            path: path.to_owned(),
            file,
            passphrase: passphrase.to_owned(),
            bytes: head.len() as u64,
            compact_bytes: 0,
        };
        // A crash while the file was made leaves a part of the head at most.
        if raw.len() < head.len() && head.starts_with(&raw) {
            store.truncate(0)?;
            store.append(&head)?;
            return Ok((store, None));
        }
        check_head(&raw, passphrase).map_err(|e| format!("--state {shown}: {e}"))?;
        let (loaded, good) = read_records(&raw, head.len(), retention)
            .map_err(|e| format!("--state {shown}: {e}"))?;
        store.truncate(good as u64)?;
        store.bytes = good as u64;
        store.compact_bytes = store.bytes;
        Ok((store, loaded))
    }

    fn truncate(&mut self, len: u64) -> Result<(), String> {
        self.file.set_len(len).map_err(|e| self.error(e))?;
        self.file
            .seek(SeekFrom::Start(len))
            .map_err(|e| self.error(e))?;
        Ok(())
    }

    fn error(&self, e: impl std::fmt::Display) -> String {
        format!("--state {}: {e}", self.path.display())
    }

    fn append(&mut self, data: &[u8]) -> Result<(), String> {
        self.file.write_all(data).map_err(|e| self.error(e))?;
        self.bytes += data.len() as u64;
        Ok(())
    }

    /// Writes a closed ledger. `durable` also waits for the disk.
    pub fn append_ledger(
        &mut self,
        ledger: &ClosedLedger,
        delta: &Delta,
        durable: bool,
    ) -> Result<(), String> {
        let record = frame(&encode_ledger(ledger, delta));
        self.append(&record)?;
        if durable {
            self.file.sync_data().map_err(|e| self.error(e))?;
        }
        Ok(())
    }

    /// Whether the log has grown enough to be rewritten.
    pub fn wants_compaction(&self) -> bool {
        self.bytes > COMPACT_BYTES_MIN && self.bytes > self.compact_bytes.saturating_mul(4)
    }

    /// Rewrites the log as one state and the retained history. The new file
    /// takes the old one's place in one step.
    pub fn rewrite(&mut self, chain: &Chain, state: &State) -> Result<(), String> {
        let beside = self.path.with_extension("new");
        let _ = std::fs::remove_file(&beside);
        let mut next = Self {
            path: beside.clone(),
            file: open_locked(&beside)?,
            passphrase: self.passphrase.clone(),
            bytes: 0,
            compact_bytes: 0,
        };
        next.append(&file_head(&self.passphrase))?;
        next.append(&frame(&encode_state(chain.latest().seq(), state)))?;
        for ledger in chain.ledgers() {
            next.append(&frame(&encode_ledger(ledger, &Delta::new())))?;
        }
        next.file.sync_all().map_err(|e| self.error(e))?;
        std::fs::rename(&beside, &self.path).map_err(|e| self.error(e))?;
        next.path = self.path.clone();
        next.compact_bytes = next.bytes;
        *self = next;
        Ok(())
    }
}

fn open_locked(path: &Path) -> Result<File, String> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|e| format!("--state {}: {e}", path.display()))?;
    file.try_lock().map_err(|_| {
        format!(
            "--state {}: another ledger has this file open",
            path.display()
        )
    })?;
    Ok(file)
}

fn check_head(raw: &[u8], passphrase: &str) -> Result<(), String> {
    let mut cursor = Cursor(raw);
    if cursor.take(MAGIC.len()).ok() != Some(MAGIC) {
        return Err("this is no ledger's state file".into());
    }
    let theirs = String::from_utf8_lossy(cursor.part()?).into_owned();
    if theirs != passphrase {
        return Err(format!(
            "this file belongs to the network {theirs:?}, not to {passphrase:?}: \
             give --passphrase {theirs:?} or another file"
        ));
    }
    Ok(())
}

/// Reads all whole records; gives where the good part ends.
fn read_records(
    raw: &[u8],
    start: usize,
    retention: u32,
) -> Result<(Option<Loaded>, usize), String> {
    let mut good = start;
    let mut state = State::default();
    let mut state_seq = None;
    let mut chain: Option<Chain> = None;
    while let Some(payload) = next_record(raw, good)? {
        let end = good + 8 + payload.len();
        let mut cursor = Cursor(&payload[1..]);
        match payload[0] {
            KIND_STATE => {
                let seq = cursor.u32()?;
                for _ in 0..cursor.u32()? {
                    let stored = read_stored(&mut cursor)?;
                    state.set(stored.entry.to_key(), Some(Arc::new(stored)));
                }
                state_seq = Some(seq);
            }
            KIND_LEDGER => {
                let (ledger, delta) = decode_ledger(&mut cursor)?;
                for (key, stored) in delta {
                    state.set(key, stored);
                }
                let known = state_seq.is_some_and(|s| ledger.seq() >= s);
                let snapshot = known.then(|| state.clone());
                let ledger = Arc::new(ledger);
                match &mut chain {
                    Some(chain) => chain.push(ledger, snapshot),
                    None => chain = Some(Chain::new(ledger, snapshot, retention)),
                }
            }
            kind => return Err(format!("a record of an unknown kind {kind} at byte {good}")),
        }
        good = end;
    }
    Ok((chain.map(|chain| Loaded { chain, state }), good))
}

/// The record at an offset; `None` where the good part ends.
fn next_record(raw: &[u8], at: usize) -> Result<Option<&[u8]>, String> {
    let mut cursor = Cursor(&raw[at..]);
    let (Ok(len), Ok(crc)) = (cursor.u32(), cursor.u32()) else {
        return Ok(None);
    };
    let Ok(payload) = cursor.take(len as usize) else {
        return Ok(None);
    };
    if !payload.is_empty() && crc32fast::hash(payload) == crc {
        return Ok(Some(payload));
    }
    // The last record may be torn; one with others behind it was damaged.
    if cursor.0.is_empty() {
        Ok(None)
    } else {
        Err(format!("the record at byte {at} is damaged"))
    }
}
