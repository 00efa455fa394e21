//! The hostile simulation: an authorization that nobody asked for, so that
//! clients can show that they do not sign what they did not build.

use stellar_xdr::{
    AccountId, Asset, ContractId, InvokeContractArgs, ScAddress, ScVal, SorobanAddressCredentials,
    SorobanAuthorizationEntry, SorobanAuthorizedFunction, SorobanAuthorizedInvocation,
    SorobanCredentials,
};

use crate::events::i128_val;
use crate::faults::{Hit, Shape};
use crate::xdr;

/// Adds a transfer of the payer's tokens to a stranger.
pub(super) fn add(
    auth: &mut Vec<SorobanAuthorizationEntry>,
    hit: &Hit,
    source: &AccountId,
    network_id: &[u8; 32],
) {
    let payer = auth
        .first()
        .and_then(|a| signer(&a.credentials))
        .unwrap_or_else(|| ScAddress::Account(source.clone()));
    let token = hit
        .request
        .token
        .as_deref()
        .and_then(|t| stellar_strkey::Contract::from_string(t).ok())
        .map_or_else(
            || xdr::asset_contract_id(network_id, &Asset::Native),
            |c| ContractId(stellar_xdr::Hash(c.0)),
        );
    let transfer = transfer(
        token,
        payer.clone(),
        hit.request.amount.unwrap_or(1_000_000_000),
    );
    let beneath = hit.request.shape.unwrap_or_default() == Shape::SubInvocation;
    if let Some(first) = auth.first_mut().filter(|_| beneath) {
        let mut subs = first.root_invocation.sub_invocations.to_vec();
        subs.push(transfer);
        if let Ok(subs) = subs.try_into() {
            first.root_invocation.sub_invocations = subs;
        }
        return;
    }
    let credentials = match &payer {
        ScAddress::Account(id) if id == source => SorobanCredentials::SourceAccount,
        _ => SorobanCredentials::Address(SorobanAddressCredentials {
            address: payer,
            nonce: 4_242_424_242,
            signature_expiration_ledger: 0,
            signature: ScVal::Void,
        }),
    };
    auth.push(SorobanAuthorizationEntry {
        credentials,
        root_invocation: transfer,
    });
}

fn signer(credentials: &SorobanCredentials) -> Option<ScAddress> {
    match credentials {
        SorobanCredentials::SourceAccount => None,
        SorobanCredentials::Address(c) | SorobanCredentials::AddressV2(c) => {
            Some(c.address.clone())
        }
        SorobanCredentials::AddressWithDelegates(c) => Some(c.address_credentials.address.clone()),
    }
}

fn transfer(token: ContractId, from: ScAddress, amount: i64) -> SorobanAuthorizedInvocation {
    let stranger = ed25519_dalek::SigningKey::from_bytes(&xdr::sha256("a stranger"));
    let stranger = xdr::account_id(stranger.verifying_key().to_bytes());
    let args = vec![
        ScVal::Address(from),
        ScVal::Address(ScAddress::Account(stranger)),
        i128_val(i128::from(amount)),
    ];
    SorobanAuthorizedInvocation {
        function: SorobanAuthorizedFunction::ContractFn(InvokeContractArgs {
            contract_address: ScAddress::Contract(token),
            function_name: "transfer".try_into().expect("a short name"),
            args: args.try_into().expect("three arguments"),
        }),
        sub_invocations: Default::default(),
    }
}
