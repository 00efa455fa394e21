//! One distribution: checked whole before anything moves, then a transfer for
//! each recipient.

use soroban_sdk::{
    panic_with_error, token::TokenClient, xdr::ScErrorType, Address, Bytes, Env, Error,
    MuxedAddress, Vec,
};

use crate::{storage, PayoutError, Settled};

/// The longest list. The limits of the network bind before (the events of the
/// transfers first); this bounds what a marker can cost.
pub const MAX_RECIPIENTS: u32 = 200;

/// The token's own error numbers end here: above are those of this contract, so
/// that no token can speak in its name.
const TOKEN_ERRORS_END: u32 = 100;
const PAID: u8 = 0;
const NO_NUMBER: u8 = 255;

/// Refuses a list that breaks a rule, before anything moves.
///
/// # Errors
///
/// * every `PayoutError` but `TokenRefused` and `PaysItself`.
pub fn check(env: &Env, token: &Address, recipients: &Vec<(MuxedAddress, i128)>) {
    if let Err(error) = admit(env, token, recipients) {
        panic_with_error!(env, error);
    }
}

fn admit(
    env: &Env,
    token: &Address,
    recipients: &Vec<(MuxedAddress, i128)>,
) -> Result<(), PayoutError> {
    if recipients.is_empty() {
        return Err(PayoutError::NoRecipients);
    }
    if recipients.len() > MAX_RECIPIENTS {
        return Err(PayoutError::TooManyRecipients);
    }
    let caps = storage::tokens(env)
        .get(token.clone())
        .ok_or(PayoutError::TokenNotAllowed)?;
    let mut total: i128 = 0;
    for (_, amount) in recipients.iter() {
        if amount <= 0 {
            return Err(PayoutError::AmountNotPositive);
        }
        // more than fits is more than any cap
        total = total.checked_add(amount).ok_or(PayoutError::AboveCallCap)?;
    }
    if total > caps.per_call {
        return Err(PayoutError::AboveCallCap);
    }
    match storage::moved_today(env, token).checked_add(total) {
        Some(moved) if moved <= caps.per_day => {}
        _ => return Err(PayoutError::AboveDayCap),
    }
    if TokenClient::new(env, token).balance(&env.current_contract_address()) < total {
        return Err(PayoutError::BalanceTooSmall);
    }
    Ok(())
}

/// Pays a list that `check` has admitted, and counts what moved.
///
/// One recipient: what refuses the transfer refuses the call. Several: who
/// cannot be paid is told by a byte, and the rest are paid.
///
/// # Security
///
/// Asks for no authorization: the caller has the executor's, and the token moves
/// this contract's own money at its own call.
pub fn pay(env: &Env, token: &Address, recipients: &Vec<(MuxedAddress, i128)>) -> Settled {
    let client = TokenClient::new(env, token);
    let from = env.current_contract_address();
    let mut outcomes = Bytes::new(env);
    let mut moved: i128 = 0;
    for (to, amount) in recipients.iter() {
        match transfer(&client, &from, &to, amount) {
            Ok(()) => {
                outcomes.push_back(PAID);
                // at most the total that was checked
                moved = moved.saturating_add(amount);
            }
            Err(error) if recipients.len() == 1 => panic_with_error!(env, error),
            Err(error) => outcomes.push_back(outcome(error)),
        }
    }
    let before = storage::moved_today(env, token);
    storage::set_moved_today(env, token, before.saturating_add(moved));
    Settled(outcomes, moved)
}

fn transfer(
    token: &TokenClient,
    from: &Address,
    to: &MuxedAddress,
    amount: i128,
) -> Result<(), Error> {
    if to.address() == *from {
        return Err(PayoutError::PaysItself.into());
    }
    match token.try_transfer(from, to, &amount) {
        Ok(Ok(())) => Ok(()),
        Err(Ok(error))
            if error.is_type(ScErrorType::Contract) && error.get_code() < TOKEN_ERRORS_END =>
        {
            Err(error)
        }
        _ => Err(PayoutError::TokenRefused.into()),
    }
}

fn outcome(error: Error) -> u8 {
    match u8::try_from(error.get_code()) {
        Ok(number) if number != PAID && u32::from(number) < TOKEN_ERRORS_END => number,
        _ => NO_NUMBER,
    }
}
