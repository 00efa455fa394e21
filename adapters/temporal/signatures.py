"""Hand signatures to the story that waits for them, as an Update; a story that Temporal lost is begun for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError

from adapters.temporal.failures import from_failure
from domain.errors import HoldfastError, Unavailable
from domain.signing import SignatureReceipt

_SIGNATURE_MAX: Final = timedelta(seconds=20)
_SUBMIT_SIGNATURE: Final = "submit_signature"


async def submit_signature(
    client: Client, begin: WithStartWorkflowOperation[Any, Any], arguments: Sequence[Any]
) -> SignatureReceipt:
    """Hand signatures to a story, which `begin` begins where Temporal does not know it.

    Raises:
        Refused: a code that begins with `signature_`, or the policy's.
        NotFound: there is no such settlement, or nothing is asked for.
        Unavailable: Temporal, its workers, the ledger or the database do not answer: post it again.
    """
    try:
        receipt: SignatureReceipt = await client.execute_update_with_start_workflow(
            _SUBMIT_SIGNATURE,
            args=arguments,
            start_workflow_operation=begin,
            result_type=SignatureReceipt,
            rpc_timeout=_SIGNATURE_MAX,
        )
    except WorkflowUpdateFailedError as failed:
        raise _refusal_in(failed) from failed
    except (RPCError, RuntimeError, WorkflowUpdateRPCTimeoutOrCancelledError) as error:
        raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
    return receipt


def _refusal_in(failed: WorkflowUpdateFailedError) -> HoldfastError:
    """Our error inside a failed Update: of the activity beneath it."""
    cause: BaseException | None = failed.cause
    while isinstance(cause, ActivityError):
        cause = cause.cause
    if isinstance(cause, ApplicationError):
        return from_failure(cause)
    return Unavailable("the story could not look at the signatures: post them again")
