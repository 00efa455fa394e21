"""What commands on the record print stays whole on a narrow terminal."""

from __future__ import annotations

import io
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

from adapters.database.engine import Database
from adapters.database.people import add_person, make_key
from cli.records import list_keys
from domain.people import Role, Scope
from settings import load_settings


async def test_a_keys_scopes_are_never_cut_off(database: Database, database_url: str, tmp_path: Path) -> None:
    async with database.begin() as connection:
        person = await add_person(connection, name="Ada", roles=[Role.FINANCE], by="test")
        key, _ = await make_key(connection, person_id=person.id, by="test", label="a label of some length")
    settings = load_settings(None, database_url=SecretStr(database_url), var_dir=tmp_path)
    said = io.StringIO()
    await list_keys(settings, Console(file=said, width=80, force_terminal=False))
    assert [scope for scope in key.scopes if scope not in said.getvalue()] == []
    assert f"{key.id} may " in said.getvalue()
    assert Scope.PAYMENTS_APPROVE in key.scopes
