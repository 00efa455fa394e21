//! Which signatures count, and whether any is left over.

use std::cell::RefCell;

use ed25519_dalek::{Signature as EdSignature, VerifyingKey};
use stellar_xdr::{AccountId, DecoratedSignature, Signer, SignerKey, Uint256};

use crate::xdr;

/// Checks one envelope's signatures; remembers which were needed.
pub struct SignatureChecker<'a> {
    hash: [u8; 32],
    signatures: &'a [DecoratedSignature],
    used: RefCell<Vec<bool>>,
}

fn verify(key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (
        VerifyingKey::from_bytes(key),
        EdSignature::from_slice(signature),
    ) else {
        return false;
    };
    key.verify_strict(message, &signature).is_ok()
}

fn hint_of(bytes: &[u8]) -> [u8; 4] {
    let mut hint = [0; 4];
    let tail = &bytes[bytes.len().saturating_sub(4)..];
    hint[..tail.len()].copy_from_slice(tail);
    hint
}

impl<'a> SignatureChecker<'a> {
    /// Checks signatures over a transaction's hash.
    pub fn new(hash: [u8; 32], signatures: &'a [DecoratedSignature]) -> Self {
        Self {
            hash,
            signatures,
            used: RefCell::new(vec![false; signatures.len()]),
        }
    }

    fn matches(&self, signature: &DecoratedSignature, key: &SignerKey) -> bool {
        let raw = signature.signature.0.as_slice();
        match key {
            SignerKey::HashX(Uint256(x)) => {
                signature.hint.0 == hint_of(x) && xdr::sha256(raw) == *x
            }
            SignerKey::Ed25519(Uint256(key)) => {
                signature.hint.0 == hint_of(key) && verify(key, &self.hash, raw)
            }
            SignerKey::Ed25519SignedPayload(p) => {
                let mut hint = hint_of(&p.ed25519.0);
                for (h, b) in hint.iter_mut().zip(hint_of(&p.payload)) {
                    *h ^= b;
                }
                signature.hint.0 == hint && verify(&p.ed25519.0, &p.payload, raw)
            }
            SignerKey::PreAuthTx(_) => false,
        }
    }

    /// Whether the signatures reach the weight. As in core, even a needed
    /// weight of 0 takes one signature of a signer.
    pub fn check(&self, signers: &[Signer], needed: u32) -> bool {
        let mut total = 0;
        let weight = |s: &Signer| s.weight.min(255);
        for signer in signers {
            if matches!(&signer.key, SignerKey::PreAuthTx(h) if h.0 == self.hash) {
                total += weight(signer);
                if total >= needed {
                    return true;
                }
            }
        }
        type Kind = fn(&SignerKey) -> bool;
        let kinds: [Kind; 3] = [
            |k| matches!(k, SignerKey::HashX(_)),
            |k| matches!(k, SignerKey::Ed25519(_)),
            |k| matches!(k, SignerKey::Ed25519SignedPayload(_)),
        ];
        for kind in kinds {
            let mut left: Vec<&Signer> = signers.iter().filter(|s| kind(&s.key)).collect();
            for (i, signature) in self.signatures.iter().enumerate() {
                let Some(at) = left.iter().position(|s| self.matches(signature, &s.key)) else {
                    continue;
                };
                self.used.borrow_mut()[i] = true;
                total += weight(left.remove(at));
                if total >= needed {
                    return true;
                }
            }
        }
        false
    }

    /// Whether the bare key of an account that does not exist yet has signed.
    pub fn check_no_account(&self, id: &AccountId) -> bool {
        let signer = Signer {
            key: SignerKey::Ed25519(Uint256(*xdr::key_bytes(id))),
            weight: 1,
        };
        self.check(&[signer], 0)
    }

    /// Whether every signature was needed: one too many fails the transaction.
    pub fn all_used(&self) -> bool {
        self.used.borrow().iter().all(|u| *u)
    }
}
