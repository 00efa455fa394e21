//! XDR in and out: base64, hashes, addresses. Limits are stated once, here.

use base64::{engine::general_purpose::STANDARD, Engine};
use sha2::{Digest, Sha256};
use stellar_xdr::{
    AccountId, Asset, AssetCode, ContractDataDurability, ContractId, ContractIdPreimage, Hash,
    HashIdPreimage, HashIdPreimageContractId, LedgerKey, LedgerKeyAccount, LedgerKeyContractCode,
    LedgerKeyContractData, LedgerKeyData, LedgerKeyTrustLine, Limits, MuxedAccount, PublicKey,
    ReadXdr, ScAddress, ScVal, String64, TrustLineAsset, Uint256, WriteXdr,
};

/// Limits for whatever a client sends: deep nesting is refused, not followed.
pub fn untrusted_limits(len: usize) -> Limits {
    Limits { depth: 500, len }
}

/// Encodes; what the ledger builds itself always fits.
pub fn bytes<T: WriteXdr>(value: &T) -> Vec<u8> {
    value
        .to_xdr(Limits::none())
        .expect("values built by the ledger encode")
}

/// Encodes as base64.
pub fn b64<T: WriteXdr>(value: &T) -> String {
    STANDARD.encode(bytes(value))
}

/// Decodes base64 from a client.
pub fn from_b64<T: ReadXdr>(text: &str) -> Result<T, String> {
    let raw = STANDARD.decode(text.trim()).map_err(|e| e.to_string())?;
    let len = raw.len() * 4 + 1024;
    T::from_xdr(&raw, untrusted_limits(len)).map_err(|e| e.to_string())
}

/// Decodes bytes that the ledger or the host wrote.
pub fn from_bytes<T: ReadXdr>(raw: &[u8]) -> Result<T, stellar_xdr::Error> {
    T::from_xdr(raw, Limits::none())
}

/// SHA-256.
pub fn sha256(data: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// SHA-256 of a value's XDR.
pub fn hash_of<T: WriteXdr>(value: &T) -> Hash {
    Hash(sha256(bytes(value)))
}

/// The raw ed25519 key of an account.
pub fn key_bytes(id: &AccountId) -> &[u8; 32] {
    let PublicKey::PublicKeyTypeEd25519(Uint256(raw)) = &id.0;
    raw
}

/// The account of a raw ed25519 key.
pub fn account_id(raw: [u8; 32]) -> AccountId {
    AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(raw)))
}

/// The account behind a possibly muxed address: the multiplexing id has no
/// meaning for the ledger.
pub fn demux(muxed: &MuxedAccount) -> AccountId {
    match muxed {
        MuxedAccount::Ed25519(Uint256(raw)) => account_id(*raw),
        MuxedAccount::MuxedEd25519(m) => account_id(m.ed25519.0),
    }
}

/// Key of an account entry.
pub fn account_key(id: &AccountId) -> LedgerKey {
    LedgerKey::Account(LedgerKeyAccount {
        account_id: id.clone(),
    })
}

/// Key of a trustline entry.
pub fn trustline_key(id: &AccountId, asset: &TrustLineAsset) -> LedgerKey {
    LedgerKey::Trustline(LedgerKeyTrustLine {
        account_id: id.clone(),
        asset: asset.clone(),
    })
}

/// Key of a data entry.
pub fn data_key(id: &AccountId, name: &String64) -> LedgerKey {
    LedgerKey::Data(LedgerKeyData {
        account_id: id.clone(),
        data_name: name.clone(),
    })
}

/// Key of a contract's instance.
pub fn instance_key(contract: &ContractId) -> LedgerKey {
    LedgerKey::ContractData(LedgerKeyContractData {
        contract: ScAddress::Contract(contract.clone()),
        key: ScVal::LedgerKeyContractInstance,
        durability: ContractDataDurability::Persistent,
    })
}

/// Key of uploaded contract code.
pub fn code_key(hash: &Hash) -> LedgerKey {
    LedgerKey::ContractCode(LedgerKeyContractCode { hash: hash.clone() })
}

/// An asset as a trustline names it.
pub fn trustline_asset(asset: &Asset) -> TrustLineAsset {
    match asset {
        Asset::Native => TrustLineAsset::Native,
        Asset::CreditAlphanum4(a) => TrustLineAsset::CreditAlphanum4(a.clone()),
        Asset::CreditAlphanum12(a) => TrustLineAsset::CreditAlphanum12(a.clone()),
    }
}

/// The issuer; the native asset has none.
pub fn asset_issuer(asset: &Asset) -> Option<&AccountId> {
    match asset {
        Asset::Native => None,
        Asset::CreditAlphanum4(a) => Some(&a.issuer),
        Asset::CreditAlphanum12(a) => Some(&a.issuer),
    }
}

/// The asset's code without its padding.
pub fn code_text(code: &[u8]) -> String {
    let end = code.iter().position(|b| *b == 0).unwrap_or(code.len());
    String::from_utf8_lossy(&code[..end]).into_owned()
}

/// `native` or `CODE:ISSUER`, as SEP-11 writes an asset.
pub fn asset_text(asset: &Asset) -> String {
    match asset {
        Asset::Native => "native".into(),
        Asset::CreditAlphanum4(a) => format!("{}:{}", code_text(&a.asset_code.0), a.issuer),
        Asset::CreditAlphanum12(a) => format!("{}:{}", code_text(&a.asset_code.0), a.issuer),
    }
}

/// Letters and digits, not empty, then zeros only: what the protocol admits.
pub fn asset_is_valid(asset: &Asset) -> bool {
    fn code_is_valid(code: &[u8], least: usize) -> bool {
        let end = code.iter().position(|b| *b == 0).unwrap_or(code.len());
        end >= least
            && code[..end].iter().all(u8::is_ascii_alphanumeric)
            && code[end..].iter().all(|b| *b == 0)
    }
    match asset {
        Asset::Native => true,
        Asset::CreditAlphanum4(a) => code_is_valid(&a.asset_code.0, 1),
        Asset::CreditAlphanum12(a) => code_is_valid(&a.asset_code.0, 5),
    }
}

/// An issuer's own code as an asset.
pub fn asset_of(code: &AssetCode, issuer: &AccountId) -> Asset {
    match code {
        AssetCode::CreditAlphanum4(c) => Asset::CreditAlphanum4(stellar_xdr::AlphaNum4 {
            asset_code: c.clone(),
            issuer: issuer.clone(),
        }),
        AssetCode::CreditAlphanum12(c) => Asset::CreditAlphanum12(stellar_xdr::AlphaNum12 {
            asset_code: c.clone(),
            issuer: issuer.clone(),
        }),
    }
}

/// The contract id that a preimage gives on this network.
pub fn contract_id(network_id: &[u8; 32], preimage: &ContractIdPreimage) -> ContractId {
    let full = HashIdPreimage::ContractId(HashIdPreimageContractId {
        network_id: Hash(*network_id),
        contract_id_preimage: preimage.clone(),
    });
    ContractId(hash_of(&full))
}

/// The contract id of an asset's Stellar Asset Contract.
pub fn asset_contract_id(network_id: &[u8; 32], asset: &Asset) -> ContractId {
    contract_id(network_id, &ContractIdPreimage::Asset(asset.clone()))
}
