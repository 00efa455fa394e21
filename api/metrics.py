"""Figures for Prometheus that come from the record. Nothing in them names a person, an outage or a payout."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from sqlalchemy import func, select

from adapters.database import switches, webhook_endpoints
from adapters.database.engine import Database
from adapters.database.settlement_figures import Ages, Standing, Transition, TransitionReader, standing
from adapters.database.settlements_tables import settlements
from domain.settlement import SettlementStatus

_SECONDS: Final = (0.5, 1, 2, 3, 5, 7.5, 10, 15, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600)
"""From one close of a fast ledger to a signer who takes days."""
_STROOPS: Final = (1_000, 10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)


class RecordMetrics:
    """Read from the record when Prometheus asks.

    Counters and histograms count what every process does, from this process's first scrape on: several APIs show
    the same figures, each its own copy.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(name, words, labels, registry=registry)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(name, words, labels, registry=registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, words, ["kind"], registry=registry, buckets=buckets)

        self._transitions = TransitionReader()
        self._settlements = gauge("holdfast_settlements", "Settlements by status", "status")
        self._unsent = gauge("holdfast_deliveries_pending", "Messages that wait")
        self._frozen = gauge("holdfast_frozen", "1 while all sending is stopped")
        self._created = counter("holdfast_settlements_created", "Settlements accepted", "kind")
        self._ended = counter("holdfast_settlements_ended", "Tries of settlements that ended", "kind", "outcome")
        self._failures = counter("holdfast_settlement_failures", "Failed tries by reason code", "kind", "reason")
        self._confirmation = histogram(
            "holdfast_settlement_confirmation_seconds", "From accepted to confirmed", _SECONDS
        )
        self._ledger = histogram("holdfast_settlement_ledger_seconds", "From first sent to confirmed", _SECONDS)
        self._fees = histogram("holdfast_settlement_fee_stroops", "What the network charged", _STROOPS)
        self._fee_max = gauge("holdfast_settlement_fee_stroops_max", "The greatest of the last hour", "kind")
        self._signatures = gauge(
            "holdfast_signatures_waiting", "Requests for signatures, by how long they wait", "longer_than_seconds"
        )
        self._signature_oldest = gauge("holdfast_signature_oldest_seconds", "How long the oldest request waits")
        self._unknowns = gauge(
            "holdfast_unknowns", "Settlements without proof, by how long they are out", "longer_than_seconds"
        )
        self._unknown_oldest = gauge("holdfast_unknown_oldest_seconds", "How long the oldest of them is out")
        self._lanes = gauge("holdfast_lanes", "Lanes, busy and free", "state")

    async def read(self, database: Database) -> None:
        """Read them.

        Raises:
            Unavailable: the database does not answer.
        """
        async with database.snapshot() as connection:
            counted = await connection.execute(
                select(settlements.c.status, func.count().label("settlements")).group_by(settlements.c.status)
            )
            self._settlements.clear()
            for row in counted:
                self._settlements.labels(row.status).set(row.settlements)
            self._unsent.set(await webhook_endpoints.unsent(connection))
            self._frozen.set(1 if await switches.frozen(connection) is not None else 0)
            self._set(await standing(connection))
            for transition in await self._transitions.read(connection):
                self._count(transition)

    def _count(self, transition: Transition) -> None:
        kind = transition.kind
        if not transition.status.final:
            self._created.labels(kind).inc()
            return
        self._ended.labels(kind, transition.status).inc()
        if transition.status is SettlementStatus.FAILED:
            self._failures.labels(kind, transition.reason_code).inc()
        for histogram, figure in (
            (self._confirmation, transition.confirmation_seconds),
            (self._ledger, transition.ledger_seconds),
            (self._fees, transition.fee_stroops),
        ):
            if figure is not None:
                histogram.labels(kind).observe(figure)

    def _set(self, now: Standing) -> None:
        _set_ages(now.signatures, self._signatures, self._signature_oldest)
        _set_ages(now.unknowns, self._unknowns, self._unknown_oldest)
        self._lanes.labels("busy").set(now.lanes_busy)
        self._lanes.labels("free").set(now.lanes - now.lanes_busy)
        self._fee_max.clear()
        for kind, greatest in now.fee_stroops_max.items():
            self._fee_max.labels(kind).set(greatest)


def _set_ages(ages: Ages, counts: Gauge, oldest: Gauge) -> None:
    for age, count in ages.longer_than.items():
        counts.labels(f"{age.total_seconds():.0f}").set(count)
    oldest.set(ages.oldest.total_seconds())
