use soroban_sdk::{contracttype, BytesN, Val, Vec};

/// The ledger key of a marker: persistent contract data under the `ScVal`
/// `Vec[Symbol("Marker"), Bytes(id)]`.
///
/// Programs outside of the ledger compute this key by themselves. Its shape
/// must never change.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MarkerKey {
    Marker(BytesN<32>),
}

/// What the ledger remembers of an id.
#[contracttype]
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Marker {
    /// SHA-256 of the arguments (see [`crate::arguments_hash`]); none if voided.
    pub args_hash: Option<BytesN<32>>,
    /// The sequence number of the ledger that settled or voided the id.
    pub ledger: u32,
    /// What the contract has to remember of its answer, as a tuple of its own:
    /// the amount of a payment, or for example a bitmap with one bit for each
    /// recipient. None if voided. Every byte of it pays rent until the greatest
    /// TTL, so it has no names, and nothing that the arguments say already.
    pub outcome: Option<Vec<Val>>,
    /// The id is dead: it has not paid and never will.
    pub voided: bool,
}

/// The answer to [`crate::claim`].
#[derive(Debug, Eq, PartialEq)]
pub enum Claim {
    /// Never seen: the call may go on.
    Fresh(Fresh),
    /// Settled before, with the same arguments: answer this, and move nothing.
    Replay(Marker),
}

/// The right to settle one id. Only [`crate::claim`] hands it out, and settling
/// uses it up.
#[derive(Debug, Eq, PartialEq)]
#[must_use = "an id that is not settled can pay again"]
pub struct Fresh {
    pub(crate) id: BytesN<32>,
    pub(crate) args_hash: BytesN<32>,
}
