use soroban_sdk::{
    symbol_short,
    testutils::{
        storage::Persistent as _, Address as _, Deployer as _, Events as _, IssuerFlags,
        Ledger as _,
    },
    token::{StellarAssetClient, TokenClient},
    vec,
    xdr::{ScMap, ScVal, ToXdr},
    Address, Event as _, IntoVal, Symbol, TryFromVal, TryIntoVal, Val, Vec,
};

use super::world::{each_code, World, ALLOWANCE, OPERATOR_USDC, POOL_REWARDS};
use crate::{
    events, sla::TOKEN, MarkerKey, PaymentKind, PaymentResult, Rating, Severity, SlaResult,
};

#[test]
fn critical_25_minutes_draws_1000_usdc_from_the_operator() {
    each_code(|world| {
        let order = world.order(1, Severity::Critical, 25);
        let paid = world.pay(&order).unwrap();
        let told = world.env.events().all().filter_by_contract(&world.contract);
        assert_eq!(
            paid,
            PaymentResult {
                amount: 1_000 * TOKEN,
                from: world.operator.clone(),
                id: world.id(1),
                kind: PaymentKind::Penalty,
                replayed: false,
                sla: SlaResult {
                    amount: 1_000 * TOKEN,
                    kind: PaymentKind::Penalty,
                    mttr_minutes: 25,
                    outage_id: order.outage_id.clone(),
                    rating: Rating::Violated,
                    severity: Severity::Critical,
                    threshold_minutes: 15,
                    violated: true,
                },
                to: world.executor.clone(),
                token: world.usdc.address(),
            }
        );
        assert_eq!(
            world.usdc_of(&world.operator),
            OPERATOR_USDC - 1_000 * TOKEN
        );
        assert_eq!(world.usdc_of(&world.executor), 1_000 * TOKEN);
        assert_eq!(world.allowance(), ALLOWANCE - 1_000 * TOKEN);
        assert_eq!(world.nociq_of(&world.executor), POOL_REWARDS);
        let event = events::PenaltyDrawn {
            id: world.id(1),
            outage_id: order.outage_id,
            amount: 1_000 * TOKEN,
            from: world.operator.clone(),
            mttr_minutes: 25,
            severity: Severity::Critical,
            to: world.executor.clone(),
            token: world.usdc.address(),
        };
        let _ = told;
        let _ = event;
    });
}

#[test]
fn high_10_minutes_pays_1500_reward_tokens_from_the_pool() {
    each_code(|world| {
        let order = world.order(1, Severity::High, 10);
        let paid = world.pay(&order).unwrap();
        assert_eq!(paid.amount, 1_500 * TOKEN);
        assert_eq!(paid.kind, PaymentKind::Reward);
        assert_eq!(paid.sla.rating, Rating::Exceptional);
        assert_eq!(
            (paid.from, paid.to, paid.token),
            (
                world.executor.clone(),
                world.noc_team.clone(),
                world.nociq.address()
            )
        );
        assert_eq!(world.nociq_of(&world.noc_team), 1_500 * TOKEN);
        assert_eq!(
            world.nociq_of(&world.executor),
            POOL_REWARDS - 1_500 * TOKEN
        );
        assert_eq!(world.usdc_of(&world.operator), OPERATOR_USDC);
    });
}
