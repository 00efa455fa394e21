"""The connection pool and the one MetaData that all tables share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import MetaData
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.errors import Unavailable

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def async_url(url: str) -> str:
    """The same database through psycopg 3: `postgres://` and `postgresql://` are accepted."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme.startswith("postgres") else url


class Database:
    """A pool of connections; every use is one transaction."""

    def __init__(self, url: str, *, connections_max: int = 20) -> None:
        self.engine: AsyncEngine = create_async_engine(
            async_url(url), pool_size=connections_max, max_overflow=0, pool_timeout=30, pool_pre_ping=False
        )

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed on leaving, rolled back on an error.

        Raises:
            Unavailable: the database does not answer. Of a commit that lost its answer the caller learns the
                truth by reading: every write is a compare and swap, so doing it again is harmless.
        """
        try:
            async with self.engine.begin() as connection:
                yield connection
        except (OperationalError, InterfaceError) as error:
            raise Unavailable(
                f"the database does not answer: {type(error.orig).__name__}", code="database_unavailable"
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
