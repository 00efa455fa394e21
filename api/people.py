"""People, their keys, the audit log and the freeze switch over HTTP: for administrators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from adapters.database import audit, people, switches
from adapters.database.audit import ChainReport
from adapters.database.people import ApiKey
from api.access import identify, needs
from api.deps import Parts
from api.exact import ExactJSONResponse
from api.fields import Body, Email, Instant, Text
from api.once import IdempotencyKey, Once
from api.problems import may_answer
from domain.errors import NotFound
from domain.people import Caller, Person, Role, Scope

router: Final = APIRouter(prefix="/api/v1", tags=["administration"])
Administrator = Annotated[Caller, Depends(needs(Scope.ADMIN))]


class AddPerson(Body):
    """A person: four eyes needs names."""

    name: Annotated[Text, Field(min_length=1, max_length=120)]
    email: Annotated[Email, Field(max_length=254)] | None = None
    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))]


class PersonView(BaseModel):
    """A person."""

    id: str
    name: str
    email: str | None
    roles: list[Role]


class PeopleView(BaseModel):
    """Everybody."""

    people: list[PersonView]


class CallerView(BaseModel):
    """Who this key is."""

    person: PersonView
    key_id: str
    scopes: list[Scope]


class MakeKey(Body):
    """A key for a person."""

    person_id: Annotated[str, Field(max_length=64)]
    label: Annotated[Text, Field(max_length=120)] = ""
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))] | None = Field(
        default=None, description="None named: all that the person's roles allow."
    )
    expires_at: Instant | None = None


class KeyView(BaseModel):
    """A key. `key` is shown once, in the answer that makes it."""

    id: str
    prefix: str
    person_id: str
    label: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    key: str | None = None


class KeysView(BaseModel):
    """All keys."""

    keys: list[KeyView]


class Reason(Body):
    """Why."""

    reason: Annotated[Text, Field(min_length=3, max_length=500)]


class FreezeView(BaseModel):
    """Whether all sending is stopped."""

    frozen: bool
    since: datetime | None = None
    by: str | None = None
    reason: str | None = None


def _person(person: Person) -> PersonView:
    return PersonView(id=person.id, name=person.name, email=person.email, roles=list(person.roles))


def _key(key: ApiKey, secret: str | None = None) -> KeyView:
    return KeyView(**key.model_dump(exclude={"scopes"}), scopes=list(key.scopes), key=secret)


@router.get("/me", response_model=CallerView, responses=may_answer())
async def read_caller(caller: Annotated[Caller, Depends(identify)]) -> Response:
    """Whose key this is, and what it may do."""
    return ExactJSONResponse(
        CallerView(person=_person(caller.person), key_id=caller.key_id, scopes=sorted(caller.scopes))
    )


@router.get("/people", response_model=PeopleView, responses=may_answer())
async def read_people(deps: Parts, _caller: Administrator) -> Response:
    """List people."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(PeopleView(people=[_person(p) for p in await people.list_people(connection)]))


@router.post(
    "/people",
    status_code=201,
    response_model=PersonView,
    responses=may_answer("malformed_request", "body_too_large", "conflict"),
)
async def add_person(deps: Parts, caller: Administrator, body: AddPerson) -> Response:
    """Add a person."""
    async with deps.database.begin() as connection:
        person = await people.add_person(
            connection, name=body.name, email=body.email, roles=body.roles, by=caller.id
        )
    return ExactJSONResponse(_person(person), 201)


@router.get("/keys", response_model=KeysView, responses=may_answer())
async def read_keys(deps: Parts, _caller: Administrator) -> Response:
    """List keys, without their secrets."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(KeysView(keys=[_key(key) for key in await people.list_keys(connection)]))


@router.post(
    "/keys",
    status_code=201,
    response_model=KeyView,
    responses={
        200: {"model": KeyView, "description": "Made before, with this Idempotency-Key; without its secret"},
        **may_answer("malformed_request", "body_too_large", "not_found", "idempotency_conflict"),
    },
)
async def make_key(
    request: Request, deps: Parts, caller: Administrator, body: MakeKey, key: IdempotencyKey = None
) -> Response:
    """Make a key. It is in this answer only."""
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        before = await once.before(request, body)
        if before is not None:
            found = [known for known in await people.list_keys(connection) if known.id == before]
            if not found:
                raise NotFound("there is no such key")
            return ExactJSONResponse(_key(found[0]))
        made, secret = await people.make_key(
            connection,
            person_id=body.person_id,
            by=caller.id,
            label=body.label,
            scopes=body.scopes,
            expires_at=body.expires_at,
        )
        await once.made(made.id)
    return ExactJSONResponse(_key(made, secret.get_secret_value()), 201)


@router.delete("/keys/{key_id}", response_model=KeyView, responses=may_answer("not_found"))
async def revoke_key(
    deps: Parts, caller: Administrator, key_id: Annotated[str, Path(pattern=r"^key:[0-9a-f]{12}$")]
) -> Response:
    """End a key at once."""
    async with deps.database.begin() as connection:
        key = await people.revoke_key(connection, key_id, by=caller.id, at=datetime.now(UTC))
    return ExactJSONResponse(_key(key))


@router.get("/audit/verify", response_model=ChainReport, responses=may_answer())
async def verify_audit(deps: Parts, _caller: Administrator) -> Response:
    """Walk the audit log's chain; the first broken link is named."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(await audit.verify(connection))


async def _freeze_view(deps: Parts) -> Response:
    async with deps.database.begin() as connection:
        now = await switches.frozen(connection)
    view = FreezeView(frozen=now is not None, **(now.model_dump() if now else {}))
    return ExactJSONResponse(view)


@router.post("/freeze", response_model=FreezeView, responses=may_answer("malformed_request", "body_too_large"))
async def freeze(deps: Parts, caller: Administrator, body: Reason) -> Response:
    """Stop all sending now."""
    async with deps.database.begin() as connection:
        await switches.freeze(connection, by=caller.id, reason=body.reason, at=datetime.now(UTC))
    return await _freeze_view(deps)


@router.post("/thaw", response_model=FreezeView, responses=may_answer("malformed_request", "body_too_large"))
async def thaw(deps: Parts, caller: Administrator, body: Reason) -> Response:
    """Let sending go on."""
    async with deps.database.begin() as connection:
        await switches.thaw(connection, by=caller.id, reason=body.reason, at=datetime.now(UTC))
    return await _freeze_view(deps)
