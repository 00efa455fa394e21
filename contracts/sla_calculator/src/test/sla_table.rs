use proptest::prelude::*;
use soroban_sdk::{symbol_short, Symbol};
use std::vec::Vec;

use super::world::{Code, World};
use crate::{
    sla::{self, Assessment},
    Bands, PaymentKind, Rating, Severity, Terms,
};

pub const SEVERITIES: [Severity; 4] = [
    Severity::Critical,
    Severity::High,
    Severity::Medium,
    Severity::Low,
];

/// Whole tokens by the guide's words, worked out another way than the contract
/// does: tenths of a token, and performance by cross-multiplied halves and
/// quarters.
fn by_the_guide(severity: Severity, mttr: u32) -> (PaymentKind, Rating, i128) {
    let tenths = match severity {
        Severity::Critical | Severity::High | Severity::Medium => 7_500,
        Severity::Low => 6_000,
    };
    let (threshold, rate): (i128, i128) = match severity {
        Severity::Critical => (15, 100),
        Severity::High => (30, 50),
        Severity::Medium => (60, 25),
        Severity::Low => (120, 10),
    };
    let mttr = i128::from(mttr);
    let minutes_over = mttr - threshold;
    if minutes_over >= 1 {
        return (
            PaymentKind::Penalty,
            Rating::Violated,
            minutes_over * rate * 10_000_000,
        );
    }
    let (rating, tenfold_multiplier) = if mttr + mttr < threshold {
        (Rating::Exceptional, 20)
    } else if 4 * mttr < 3 * threshold {
        (Rating::Excellent, 15)
    } else {
        (Rating::Good, 10)
    };
    (
        PaymentKind::Reward,
        rating,
        tenths * tenfold_multiplier * 100_000,
    )
}

fn assess(severity: Severity, mttr: u32) -> (PaymentKind, Rating, i128) {
    let terms = sla::initial_terms(severity);
    let Assessment {
        kind,
        rating,
        amount,
    } = sla::assess(&terms, &sla::initial_bands(), mttr).unwrap();
    (kind, rating, amount)
}

fn tokens(amount: i128) -> i128 {
    amount * sla::TOKEN
}

#[test]
fn the_examples_of_the_guide() {
    use {PaymentKind::*, Rating::*, Severity::*};
    for (severity, mttr, expected) in [
        (Critical, 25, (Penalty, Violated, tokens(1_000))),
        (High, 10, (Reward, Exceptional, tokens(1_500))),
    ] {
        assert_eq!(assess(severity, mttr), expected);
    }
}

#[test]
fn every_edge_of_every_severity() {
    use {PaymentKind::*, Rating::*, Severity::*};
    for (severity, mttr, expected) in [
        // at exactly 50 % it is 1.5, at exactly 75 % it is 1.0
        (Critical, 0, (Reward, Exceptional, tokens(1_500))),
        (Critical, 7, (Reward, Exceptional, tokens(1_500))),
        (Critical, 8, (Reward, Excellent, tokens(1_125))),
        (Critical, 11, (Reward, Excellent, tokens(1_125))),
        (Critical, 12, (Reward, Good, tokens(750))),
        (Critical, 15, (Reward, Good, tokens(750))),
        (Critical, 16, (Penalty, Violated, tokens(100))),
        (High, 14, (Reward, Exceptional, tokens(1_500))),
        (High, 15, (Reward, Excellent, tokens(1_125))),
        (High, 22, (Reward, Excellent, tokens(1_125))),
        (High, 23, (Reward, Good, tokens(750))),
        (High, 30, (Reward, Good, tokens(750))),
        (High, 31, (Penalty, Violated, tokens(50))),
        (Medium, 29, (Reward, Exceptional, tokens(1_500))),
        (Medium, 30, (Reward, Excellent, tokens(1_125))),
        (Medium, 44, (Reward, Excellent, tokens(1_125))),
        (Medium, 45, (Reward, Good, tokens(750))),
        (Medium, 60, (Reward, Good, tokens(750))),
        (Medium, 61, (Penalty, Violated, tokens(25))),
        (Low, 59, (Reward, Exceptional, tokens(1_200))),
        (Low, 60, (Reward, Excellent, tokens(900))),
        (Low, 89, (Reward, Excellent, tokens(900))),
        (Low, 90, (Reward, Good, tokens(600))),
        (Low, 120, (Reward, Good, tokens(600))),
        (Low, 121, (Penalty, Violated, tokens(10))),
    ] {
        assert_eq!(assess(severity, mttr), expected, "{severity:?} {mttr}");
    }
}

#[test]
fn the_wasm_decides_by_the_guide_around_every_threshold() {
    let world = World::new(Code::Wasm);
    for severity in SEVERITIES {
        let threshold = sla::initial_terms(severity).threshold_minutes;
        for mttr in (0..=threshold + 2).chain([1_000_000, u32::MAX]) {
            let decided = world
                .client
                .calculate_sla(&symbol_short!("OUT001"), &severity, &mttr);
            let expected = by_the_guide(severity, mttr);
            assert_eq!((decided.kind, decided.rating, decided.amount), expected);
            assert_eq!(decided.violated, mttr > threshold);
            assert_eq!(decided.threshold_minutes, threshold);
            assert_eq!(decided.mttr_minutes, mttr);
            assert_eq!(decided.severity, severity);
            assert_eq!(decided.outage_id, Symbol::new(&world.env, "OUT001"));
        }
    }
}

fn terms() -> impl Strategy<Value = Terms> {
    (
        1..=sla::THRESHOLD_MINUTES_MAX,
        0..=sla::PENALTY_PER_MINUTE_MAX,
        0..=sla::BASE_REWARD_MAX,
    )
        .prop_map(
            |(threshold_minutes, penalty_per_minute, base_reward)| Terms {
                base_reward,
                penalty_per_minute,
                threshold_minutes,
            },
        )
}

fn bands() -> impl Strategy<Value = Bands> {
    (
        prop::collection::vec(0..=100_u32, 2),
        prop::collection::vec(0..=sla::REWARD_PERCENT_MAX, 3),
    )
        .prop_map(|(mut limits, mut rewards): (Vec<u32>, Vec<u32>)| {
            limits.sort_unstable();
            rewards.sort_unstable();
            Bands {
                excellent_below_percent: limits[1],
                excellent_reward_percent: rewards[1],
                exceptional_below_percent: limits[0],
                exceptional_reward_percent: rewards[2],
                good_reward_percent: rewards[0],
            }
        })
}

proptest! {
    #[test]
    fn the_table_agrees_with_the_guide(severity in 0..4_usize, mttr in prop_oneof![0..300_u32, any::<u32>()]) {
        let severity = SEVERITIES[severity];
        prop_assert_eq!(assess(severity, mttr), by_the_guide(severity, mttr));
    }

    #[test]
    fn within_bounds_nothing_overflows_or_is_negative(terms in terms(), bands in bands(), mttr: u32) {
        prop_assert_eq!(sla::check_terms(&terms), Ok(()));
        prop_assert_eq!(sla::check_bands(&bands), Ok(()));
        let assessment = sla::assess(&terms, &bands, mttr).unwrap();
        prop_assert!(assessment.amount >= 0);
        prop_assert_eq!(assessment.kind == PaymentKind::Penalty, mttr > terms.threshold_minutes);
    }

    #[test]
    fn a_minute_more_never_pays_more(terms in terms(), bands in bands(), mttr in 0..1_000_000_u32) {
        let value = |mttr| {
            let assessment = sla::assess(&terms, &bands, mttr).unwrap();
            match assessment.kind {
                PaymentKind::Reward => assessment.amount,
                PaymentKind::Penalty => -assessment.amount,
            }
        };
        prop_assert!(value(mttr + 1) <= value(mttr));
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let terms = Terms {
        base_reward: i128::MAX,
        penalty_per_minute: i128::MAX,
        threshold_minutes: 1,
    };
    for mttr in [0, 3] {
        let refused = sla::assess(&terms, &sla::initial_bands(), mttr);
        assert_eq!(refused, Err(crate::SlaError::Overflow));
    }
}
