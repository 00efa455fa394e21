"""The search attributes that stories set, and how a namespace learns of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.story_names import AMOUNT, ASSET, KIND, OPERATOR, SEVERITY, STATUS
from domain.errors import Refused, Unavailable

SEARCH_ATTRIBUTES: Final[Mapping[str, str]] = MappingProxyType(
    {KIND.name: "Keyword", STATUS.name: "Keyword", SEVERITY.name: "Keyword", OPERATOR.name: "Keyword"}
    | {ASSET.name: "Keyword", AMOUNT.name: "Double"}
)
"""Name to type, as the server's `--search-attribute NAME=TYPE` wants it."""

_TYPES: Final = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
}


async def register_search_attributes(client: Client) -> None:
    """Add those that the client's namespace lacks; again is harmless.

    Raises:
        Refused: this server has its attributes added another way (Temporal Cloud), and some are missing.
        Unavailable: the server does not answer.
    """
    try:
        present = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
        missing = {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in present.custom_attributes}
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(
                    namespace=client.namespace,
                    search_attributes={name: _TYPES[kind] for name, kind in missing.items()},
                )
            )
    except RPCError as error:
        match error.status:
            case RPCStatusCode.ALREADY_EXISTS:
                return  # another worker was quicker
            case RPCStatusCode.PERMISSION_DENIED | RPCStatusCode.UNIMPLEMENTED | RPCStatusCode.UNAUTHENTICATED:
                raise Refused(
                    "the search attributes "
                    + ", ".join(f"{name} ({kind})" for name, kind in SEARCH_ATTRIBUTES.items())
                    + f" cannot be added here ({error.status.name}): add them to the namespace {client.namespace}"
                ) from error
            case _:
                raise Unavailable(
                    f"Temporal does not answer: {error.status.name}", code="temporal_unavailable"
                ) from error
