from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from temporalio.client import ScheduleOverlapPolicy
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.nightly import NightlyActivities
from activities.story_names import STORIES
from adapters.allowance_watch import AllowanceWatch
from adapters.database.engine import Database
from adapters.database.registry import Operator, put_operator
from adapters.stellar.allowances import Allowances
from adapters.stellar.rpc import Rpc
from adapters.temporal.schedules import NIGHTLY, ensure_schedules
from domain.allowance import Allowance, time_left, warning_due
from domain.money import Amount
from tests.settlement.world import World
from tests.waiting import until
from workflows.nightly import NightlyStory

NOW = datetime(2026, 1, 16, 10, tzinfo=UTC)


@given(st.integers(0, 400))
def test_an_operator_is_warned_within_30_and_within_7_days_of_the_end(days: int) -> None:
    expected = None if days > 30 or days == 0 else 7 if days <= 7 else 30
    assert warning_due(timedelta(days=days)) == expected


def test_the_time_left_is_counted_in_ledgers() -> None:
    allowance = Allowance(Amount.of(1), live_until=1_100)
    assert time_left(allowance, latest_ledger=1_000, close_time=timedelta(seconds=5)) == timedelta(seconds=500)
    assert time_left(allowance, latest_ledger=2_000, close_time=timedelta(seconds=5)) == timedelta()


async def _operator(database: Database, wallet: str) -> None:
    async with database.begin() as connection:
        await put_operator(connection, Operator(id="acme", name="Acme", wallet=wallet), by="test", at=NOW)


async def test_an_ending_allowance_is_told_once_until_it_is_given_anew(world: World, database: Database) -> None:
    await world.approve(Amount.of(400_000), ledgers=90_000)
    await _operator(database, world.operator.public_key)
    async with Rpc(world.url) as rpc:
        allowances = Allowances(rpc, token=world.usdc, spender=world.sla)
        allowance, _ = await allowances.read(world.operator.public_key)
        assert allowance.amount == Amount.of(400_000)
        watch = AllowanceWatch(database, allowances)
        assert await watch.warn(NOW) == ("acme",)
        assert await watch.warn(NOW) == ()
        await world.approve(Amount.of(500_000), ledgers=91_000)
        assert await watch.warn(NOW) == ("acme",)


async def test_a_wallet_without_an_allowance_is_left_to_the_payments_refusal(
    world: World, database: Database
) -> None:
    await _operator(database, world.noc_team.public_key)
    async with Rpc(world.url) as rpc:
        allowances = Allowances(rpc, token=world.usdc, spender=world.sla)
        assert await AllowanceWatch(database, allowances).warn(NOW) == ()


class _Nobody:
    async def warn(self, at: datetime) -> tuple[str, ...]:
        return ()

    async def keep_alive(self) -> bool:
        return False


async def test_the_nightly_round_is_scheduled_once_and_runs(temporal: WorkflowEnvironment) -> None:
    await ensure_schedules(temporal.client)
    await ensure_schedules(temporal.client)
    schedule = temporal.client.get_schedule_handle(NIGHTLY)
    assert (await schedule.describe()).schedule.policy.overlap is ScheduleOverlapPolicy.SKIP
    acts = NightlyActivities(_Nobody(), _Nobody())
    async with Worker(
        temporal.client,
        task_queue=STORIES,
        workflows=[NightlyStory],
        activities=[acts.warn_of_ending_allowances, acts.keep_contract_alive],
    ):
        await schedule.trigger()

        async def ran() -> bool | None:
            return True if (await schedule.describe()).info.recent_actions else None

        await until(ran)
        action = (await schedule.describe()).info.recent_actions[-1].action
        handle = temporal.client.get_workflow_handle(action.workflow_id)  # type: ignore[attr-defined]
        assert await handle.result() == []
