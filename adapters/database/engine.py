"""The connection pool and the one MetaData that all tables share."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import MetaData, func, select, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
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
_ONE_MOMENT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_AWAY: Final = (OperationalError, InterfaceError, PoolTimeout)


def _unavailable(error: OperationalError | InterfaceError | PoolTimeout) -> Unavailable:
    kind = type(getattr(error, "orig", error)).__name__
    return Unavailable(f"the database does not answer: {kind}", code="database_unavailable")


def async_url(url: str) -> str:
    """The same database through psycopg 3: `postgres://` and `postgresql://` are accepted."""
    scheme, _, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if scheme.startswith("postgres") else url


class Database:
    """A pool of connections."""

    def __init__(self, url: str, *, connections_max: int = 20, wait_seconds: float = 30) -> None:
        """`wait_seconds` is how long a transaction waits for a free connection."""
        self.engine: AsyncEngine = create_async_engine(
            async_url(url),
            pool_size=connections_max,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_pre_ping=False,
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
        except _AWAY as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """Read several figures as of one moment, so that they agree; nothing can be written.

        Raises:
            Unavailable: the database does not answer.
        """
        async with self.begin() as connection:
            await connection.execute(_ONE_MOMENT)
            yield connection

    @asynccontextmanager
    async def look(self) -> AsyncIterator[AsyncConnection]:
        """A connection where each statement stands for itself: spares a single read its BEGIN and COMMIT.

        Raises:
            Unavailable: the database does not answer.
        """
        try:
            async with self.engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")
        except _AWAY as error:
            raise _unavailable(error) from error

    @asynccontextmanager
    async def alone(self, name: str) -> AsyncIterator[None]:
        """Hold the lock of this name, over all processes on this database; it ends with the connection.

        The lock is a session's, not a transaction's: what happens under it may take long and touch other systems.

        Raises:
            Unavailable: the database does not answer.
        """
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        try:
            async with self.engine.connect() as connection:
                autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
                await autocommit.execute(select(func.pg_advisory_lock(key)))
                try:
                    yield
                finally:
                    await autocommit.execute(select(func.pg_advisory_unlock(key)))
        except _AWAY as error:
            raise _unavailable(error) from error

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
