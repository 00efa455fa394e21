//! The arithmetic: pure, whole minutes, no rounding but the one that is named.

use crate::{AdminError, Bands, PaymentKind, Rating, Severity, SlaError, Terms};

/// One token in its smallest units.
pub const TOKEN: i128 = 10_000_000;

/// A year of minutes.
pub const THRESHOLD_MINUTES_MAX: u32 = 525_600;
pub const PENALTY_PER_MINUTE_MAX: i128 = 1_000_000 * TOKEN;
pub const BASE_REWARD_MAX: i128 = 1_000_000_000 * TOKEN;
/// Ten times the base reward.
pub const REWARD_PERCENT_MAX: u32 = 1_000;

/// A decision without its outage.
#[derive(Debug, Eq, PartialEq)]
pub struct Assessment {
    pub kind: PaymentKind,
    pub rating: Rating,
    pub amount: i128,
}

/// The terms that a new contract starts with.
pub fn initial_terms(severity: Severity) -> Terms {
    let (threshold_minutes, penalty, reward) = match severity {
        Severity::Critical => (15, 100, 750),
        Severity::High => (30, 50, 750),
        Severity::Medium => (60, 25, 750),
        Severity::Low => (120, 10, 600),
    };
    Terms {
        base_reward: TOKEN.saturating_mul(reward),
        penalty_per_minute: TOKEN.saturating_mul(penalty),
        threshold_minutes,
    }
}

/// The bands that a new contract starts with: x2.0 below 50 %, x1.5 below 75 %.
pub fn initial_bands() -> Bands {
    Bands {
        excellent_below_percent: 75,
        excellent_reward_percent: 150,
        exceptional_below_percent: 50,
        exceptional_reward_percent: 200,
        good_reward_percent: 100,
    }
}

/// Decides kind, rating and amount.
///
/// A reward is rounded down to the token's smallest unit: the pool keeps the
/// rest. (With the initial terms nothing is ever rounded.)
pub fn assess(terms: &Terms, bands: &Bands, mttr_minutes: u32) -> Result<Assessment, SlaError> {
    if let Some(over) = mttr_minutes
        .checked_sub(terms.threshold_minutes)
        .filter(|over| *over > 0)
    {
        let amount = terms
            .penalty_per_minute
            .checked_mul(i128::from(over))
            .ok_or(SlaError::Overflow)?;
        return Ok(Assessment {
            kind: PaymentKind::Penalty,
            rating: Rating::Violated,
            amount,
        });
    }
    let (rating, percent) = if below(mttr_minutes, terms, bands.exceptional_below_percent) {
        (Rating::Exceptional, bands.exceptional_reward_percent)
    } else if below(mttr_minutes, terms, bands.excellent_below_percent) {
        (Rating::Excellent, bands.excellent_reward_percent)
    } else {
        (Rating::Good, bands.good_reward_percent)
    };
    let amount = terms
        .base_reward
        .checked_mul(i128::from(percent))
        .and_then(|hundredfold| hundredfold.checked_div(100))
        .ok_or(SlaError::Overflow)?;
    Ok(Assessment {
        kind: PaymentKind::Reward,
        rating,
        amount,
    })
}

/// MTTR / threshold < percent / 100, multiplied out: two `u32` fit a `u64`.
fn below(mttr_minutes: u32, terms: &Terms, percent: u32) -> bool {
    let performance = u64::from(mttr_minutes).saturating_mul(100);
    let limit = u64::from(terms.threshold_minutes).saturating_mul(u64::from(percent));
    performance < limit
}

pub fn check_terms(terms: &Terms) -> Result<(), AdminError> {
    if !(1..=THRESHOLD_MINUTES_MAX).contains(&terms.threshold_minutes) {
        return Err(AdminError::ThresholdOutOfBounds);
    }
    if !(0..=PENALTY_PER_MINUTE_MAX).contains(&terms.penalty_per_minute) {
        return Err(AdminError::PenaltyOutOfBounds);
    }
    if !(0..=BASE_REWARD_MAX).contains(&terms.base_reward) {
        return Err(AdminError::RewardOutOfBounds);
    }
    Ok(())
}

/// A better repair must not be paid less.
pub fn check_bands(bands: &Bands) -> Result<(), AdminError> {
    let limits_descend = bands.exceptional_below_percent <= bands.excellent_below_percent
        && bands.excellent_below_percent <= 100;
    let rewards_descend = bands.good_reward_percent <= bands.excellent_reward_percent
        && bands.excellent_reward_percent <= bands.exceptional_reward_percent
        && bands.exceptional_reward_percent <= REWARD_PERCENT_MAX;
    if limits_descend && rewards_descend {
        Ok(())
    } else {
        Err(AdminError::BandsOutOfBounds)
    }
}
