//! Rules of one account: reserve, available balance, extensions, signers.

use stellar_xdr::{
    AccountEntry, AccountEntryExt, AccountEntryExtensionV1, AccountEntryExtensionV1Ext,
    AccountEntryExtensionV2, AccountEntryExtensionV2Ext, AccountEntryExtensionV3, AccountId,
    ExtensionPoint, Liabilities, SequenceNumber, Signer, SignerKey, SponsorshipDescriptor,
    Thresholds, TimePoint, TrustLineEntry, TrustLineEntryExt, Uint256,
};

use crate::config::BASE_RESERVE;
use crate::xdr;

/// How much weight an operation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdLevel {
    /// Sequence numbers, trust flags, and the transaction's own source.
    Low,
    /// Payments and everything not named elsewhere.
    Medium,
    /// Signers, thresholds, merging.
    High,
}

/// A new account with the protocol's defaults: master weight 1, thresholds 0.
pub fn new_account(id: AccountId, balance: i64, ledger_seq: u32) -> AccountEntry {
    AccountEntry {
        account_id: id,
        balance,
        seq_num: SequenceNumber(i64::from(ledger_seq) << 32),
        num_sub_entries: 0,
        inflation_dest: None,
        flags: 0,
        home_domain: Default::default(),
        thresholds: Thresholds([1, 0, 0, 0]),
        signers: Default::default(),
        ext: AccountEntryExt::V0,
    }
}

fn v1(account: &AccountEntry) -> Option<&AccountEntryExtensionV1> {
    match &account.ext {
        AccountEntryExt::V0 => None,
        AccountEntryExt::V1(e) => Some(e),
    }
}

fn v2(account: &AccountEntry) -> Option<&AccountEntryExtensionV2> {
    match &v1(account)?.ext {
        AccountEntryExtensionV1Ext::V0 => None,
        AccountEntryExtensionV1Ext::V2(e) => Some(e),
    }
}

/// When the sequence number was last consumed: ledger and close time.
pub fn seq_age(account: &AccountEntry) -> (u32, u64) {
    match v2(account).map(|e| &e.ext) {
        Some(AccountEntryExtensionV2Ext::V3(e)) => (e.seq_ledger, e.seq_time.0),
        _ => (0, 0),
    }
}

fn v1_mut(account: &mut AccountEntry) -> &mut AccountEntryExtensionV1 {
    if account.ext == AccountEntryExt::V0 {
        account.ext = AccountEntryExt::V1(AccountEntryExtensionV1 {
            liabilities: Liabilities {
                buying: 0,
                selling: 0,
            },
            ext: AccountEntryExtensionV1Ext::V0,
        });
    }
    match &mut account.ext {
        AccountEntryExt::V1(e) => e,
        AccountEntryExt::V0 => unreachable!("set above"),
    }
}

/// The sponsorship extension, made where missing, one descriptor a signer.
pub fn v2_mut(account: &mut AccountEntry) -> &mut AccountEntryExtensionV2 {
    let signers = account.signers.len();
    let e = v1_mut(account);
    if e.ext == AccountEntryExtensionV1Ext::V0 {
        let none = vec![SponsorshipDescriptor(None); signers];
        e.ext = AccountEntryExtensionV1Ext::V2(AccountEntryExtensionV2 {
            num_sponsored: 0,
            num_sponsoring: 0,
            signer_sponsoring_i_ds: none.try_into().expect("at most 20 signers"),
            ext: AccountEntryExtensionV2Ext::V0,
        });
    }
    match &mut e.ext {
        AccountEntryExtensionV1Ext::V2(e) => e,
        AccountEntryExtensionV1Ext::V0 => unreachable!("set above"),
    }
}

/// Notes when the sequence number was consumed.
pub fn set_seq_age(account: &mut AccountEntry, ledger_seq: u32, close_time: u64) {
    v2_mut(account).ext = AccountEntryExtensionV2Ext::V3(AccountEntryExtensionV3 {
        ext: ExtensionPoint::V0,
        seq_ledger: ledger_seq,
        seq_time: TimePoint(close_time),
    });
}

/// Reserves that others pay for this account.
pub fn num_sponsored(account: &AccountEntry) -> u32 {
    v2(account).map_or(0, |e| e.num_sponsored)
}

/// Reserves that this account pays for others.
pub fn num_sponsoring(account: &AccountEntry) -> u32 {
    v2(account).map_or(0, |e| e.num_sponsoring)
}

/// Who pays for the signer at an index.
pub fn signer_sponsor(account: &AccountEntry, index: usize) -> Option<AccountId> {
    v2(account)?.signer_sponsoring_i_ds.get(index)?.0.clone()
}

/// Lumens that must stay.
pub fn min_balance(account: &AccountEntry) -> i64 {
    let units = 2 + i64::from(account.num_sub_entries) + i64::from(num_sponsoring(account))
        - i64::from(num_sponsored(account));
    units * i64::from(BASE_RESERVE)
}

fn liabilities(account: &AccountEntry) -> Liabilities {
    v1(account).map_or(
        Liabilities {
            buying: 0,
            selling: 0,
        },
        |e| e.liabilities.clone(),
    )
}

/// Lumens that may be spent.
pub fn available_balance(account: &AccountEntry) -> i64 {
    account.balance - min_balance(account) - liabilities(account).selling
}

/// Lumens that may still be received.
pub fn receivable(account: &AccountEntry) -> i64 {
    i64::MAX - account.balance - liabilities(account).buying
}

fn line_liabilities(line: &TrustLineEntry) -> (i64, i64) {
    match &line.ext {
        TrustLineEntryExt::V0 => (0, 0),
        TrustLineEntryExt::V1(e) => (e.liabilities.buying, e.liabilities.selling),
    }
}

/// Tokens of a trustline that may be spent.
pub fn line_available(line: &TrustLineEntry) -> i64 {
    line.balance - line_liabilities(line).1
}

/// Tokens that a trustline may still receive.
pub fn line_receivable(line: &TrustLineEntry) -> i64 {
    line.limit - line.balance - line_liabilities(line).0
}

/// The weight that a level asks for.
pub fn needed_weight(account: &AccountEntry, level: ThresholdLevel) -> u8 {
    let Thresholds([_, low, medium, high]) = account.thresholds;
    match level {
        ThresholdLevel::Low => low,
        ThresholdLevel::Medium => medium,
        ThresholdLevel::High => high,
    }
}

/// All signers with the master key, which has no entry of its own.
pub fn all_signers(account: &AccountEntry) -> Vec<Signer> {
    let mut signers = account.signers.to_vec();
    let master = account.thresholds.0[0];
    if master > 0 {
        signers.push(Signer {
            key: SignerKey::Ed25519(Uint256(*xdr::key_bytes(&account.account_id))),
            weight: u32::from(master),
        });
    }
    signers
}
