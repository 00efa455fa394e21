//! The moves of money: one transfer for each payment, checked beforehand so that
//! a refusal says which side is short, instead of the token's error.

use soroban_sdk::{
    panic_with_error, token::TokenClient, xdr::ScErrorType, Address, ConversionError, Env, Error,
    InvokeError,
};

use crate::{PaymentKind, PaymentResult, SlaError};

/// The numbers of the Stellar Asset Contract's errors that have one of ours.
mod token_error {
    pub const ACCOUNT_MISSING: u32 = 6;
    pub const ALLOWANCE: u32 = 9;
    pub const BALANCE: u32 = 10;
    pub const BALANCE_DEAUTHORIZED: u32 = 11;
    pub const TRUSTLINE_MISSING: u32 = 13;
}

/// Moves what `payment` says. An amount of zero calls no token.
///
/// # Security
///
/// Asks for no authorization: the caller has the executor's. A reward needs the
/// executor's authorization of the token's `transfer` beneath it as well; a
/// penalty rests on the allowance that the operator gave to this contract.
pub fn transfer(env: &Env, payment: &PaymentResult) {
    if payment.from == payment.to {
        panic_with_error!(env, SlaError::PaysItself);
    }
    if payment.amount == 0 {
        return;
    }
    let result = match payment.kind {
        PaymentKind::Penalty => draw(env, payment),
        PaymentKind::Reward => pay(env, payment),
    };
    if let Err(error) = result {
        panic_with_error!(env, error);
    }
}

fn draw(env: &Env, payment: &PaymentResult) -> Result<(), SlaError> {
    let token = TokenClient::new(env, &payment.token);
    let contract = env.current_contract_address();
    if token.allowance(&payment.from, &contract) < payment.amount {
        return Err(SlaError::AllowanceTooSmall);
    }
    if balance(&token, &payment.from) < payment.amount {
        return Err(SlaError::OperatorBalanceTooSmall);
    }
    let answer = token.try_transfer_from(&contract, &payment.from, &payment.to, &payment.amount);
    translate(answer, SlaError::OperatorBalanceTooSmall)
}

fn pay(env: &Env, payment: &PaymentResult) -> Result<(), SlaError> {
    let token = TokenClient::new(env, &payment.token);
    if balance(&token, &payment.from) < payment.amount {
        return Err(SlaError::PoolTooSmall);
    }
    let answer = token.try_transfer(&payment.from, &payment.to, &payment.amount);
    translate(answer, SlaError::PoolTooSmall)
}

/// The token answers a missing account or trustline with an error; for whoever
/// has to pay that is a balance of nothing.
fn balance(token: &TokenClient, holder: &Address) -> i128 {
    match token.try_balance(holder) {
        Ok(Ok(balance)) => balance,
        _ => 0,
    }
}

/// `payer_short` also covers what a balance does not show: amounts that the
/// payer's open offers hold.
pub fn translate(
    answer: Result<Result<(), ConversionError>, Result<Error, InvokeError>>,
    payer_short: SlaError,
) -> Result<(), SlaError> {
    let error = match answer {
        Ok(Ok(())) => return Ok(()),
        Err(Ok(error)) if error.is_type(ScErrorType::Contract) => error,
        _ => return Err(SlaError::TokenRefused),
    };
    Err(match error.get_code() {
        token_error::ACCOUNT_MISSING => SlaError::RecipientNoAccount,
        token_error::ALLOWANCE => SlaError::AllowanceTooSmall,
        token_error::BALANCE => payer_short,
        token_error::BALANCE_DEAUTHORIZED => SlaError::BalanceFrozen,
        token_error::TRUSTLINE_MISSING => SlaError::RecipientNoTrustline,
        _ => SlaError::TokenRefused,
    })
}
