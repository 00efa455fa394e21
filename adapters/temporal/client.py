"""The client: connected, sealing its payloads and its failures' texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from temporalio.client import Client, Interceptor
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes
from temporalio.runtime import Runtime
from temporalio.service import RPCError, TLSConfig

from adapters.temporal.codec import SealedPayloads
from domain.errors import Unavailable


def data_converter(codec: SealedPayloads | None) -> DataConverter:
    """Pydantic inside; sealed outside where there is a codec, messages and stack traces of failures too."""
    if codec is None:
        return pydantic_data_converter
    return dataclasses.replace(
        pydantic_data_converter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )


async def connect(
    target_host: str,
    *,
    namespace: str,
    codec: SealedPayloads | None,
    api_key: str | None = None,
    tls: bool | TLSConfig = False,
    runtime: Runtime | None = None,
    interceptors: Sequence[Interceptor] = (),
    lazy: bool = False,
) -> Client:
    """Connect to Temporal at `HOST:PORT`.

    Args:
        target_host: the front end.
        namespace: where stories live.
        codec: seals payloads; None leaves them readable.
        api_key: of Temporal Cloud.
        tls: whether, or how, to speak TLS.
        runtime: the process's one, with its metrics.
        interceptors: what traces are made by.
        lazy: connect with the first call, so that a process starts while Temporal is away. Not for workers.

    Raises:
        Unavailable: `temporal_unavailable`.
    """
    try:
        return await Client.connect(
            target_host,
            namespace=namespace,
            api_key=api_key,
            tls=tls,
            data_converter=data_converter(codec),
            runtime=runtime,
            interceptors=interceptors,
            lazy=lazy,
        )
    except (RPCError, RuntimeError) as error:
        raise Unavailable(f"Temporal does not answer at {target_host}", code="temporal_unavailable") from error
