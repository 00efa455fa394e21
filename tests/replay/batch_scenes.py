"""Scenes of batches whose histories are recorded: what stock-taking tells, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from domain.batch import BatchStatus
from domain.settlement import SettlementStatus

_ID: Final = "chunk:bat0123456789abcdef"
_A, _B, _C = f"{_ID}.1", f"{_ID}.2", f"{_ID}.3"
_RUNNING = BatchStatus.RUNNING
_DONE: Final = (BatchStatus.COMPLETED, ())


@dataclass(frozen=True)
class BatchScene:
    standings: tuple[tuple[BatchStatus, tuple[str, ...]], ...]
    walks: Mapping[str, tuple[SettlementStatus, ...]] = field(default_factory=dict)
    """What the engine says of a chunk, walk by walk; then that it is confirmed."""
    wakes_at: tuple[int, ...] = ()
    """With which stock-takings somebody calls."""
    signs_at: tuple[int, ...] = ()
    """With which stock-takings somebody signs for the first chunk."""
    looks_after: Mapping[int, timedelta] = field(default_factory=dict)
    """Which stock-takings say when to look again."""


BATCH_SCENES: Final[Mapping[str, BatchScene]] = {
    "paid": BatchScene(((_RUNNING, (_A, _B)), (_RUNNING, (_B, _C)), (_RUNNING, (_C,)), _DONE)),
    "without_proof_for_long": BatchScene(
        ((_RUNNING, (_A,)), _DONE),
        {_A: (SettlementStatus.UNKNOWN,) * 8},
    ),
    "paused_and_resumed": BatchScene(
        ((_RUNNING, (_A,)), (BatchStatus.PAUSED, ()), (_RUNNING, (_B,)), _DONE),
        wakes_at=(2,),
    ),
    "waits_for_approval": BatchScene(
        ((BatchStatus.AWAITING_APPROVAL, ()), (_RUNNING, (_A,)), _DONE),
        wakes_at=(1,),
    ),
    "frozen_for_a_while": BatchScene(
        ((_RUNNING, (_A,)), _DONE),
        {_A: (SettlementStatus.BUILT, SettlementStatus.BUILT, SettlementStatus.SUBMITTED)},
    ),
    "signed_outside": BatchScene(
        ((_RUNNING, (_A,)), (_RUNNING, ()), (_RUNNING, (_A,)), (_RUNNING, ()), (_RUNNING, (_A,)), _DONE),
        {_A: (SettlementStatus.AWAITING_SIGNATURE,) * 2},
        signs_at=(4,),
        looks_after={2: timedelta(hours=12)},
    ),
}
