"""The command lines of what works on the record: keys, people, builds, custody, webhooks, reconciling, audit."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal import console, local_settings_or_exit, run, settings_or_exit
from domain.people import Role, Scope

keys = typer.Typer(help="API keys.", no_args_is_help=True)


@keys.command("create")
def keys_create(
    person: Annotated[str, typer.Argument(help="Whose: a name of `holdfast people list`.")],
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="Only this; may be repeated. All without.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How long it is valid. Without end without.")] = None,
) -> None:
    """Make a key for a person; its text is printed once, as the last line."""
    from cli import records  # noqa: PLC0415

    run(records.make_key(settings_or_exit(), console, person=person, label=label, scopes=scope or (), days=days))


@keys.command("list")
def keys_list() -> None:
    """Show all keys, without their secrets."""
    from cli import records  # noqa: PLC0415

    run(records.list_keys(settings_or_exit(), console))


@keys.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(help="Such as key:0123456789ab.")]) -> None:
    """End a key at once."""
    from cli import records  # noqa: PLC0415

    run(records.revoke_key(settings_or_exit(), console, key_id))


people = typer.Typer(help="The people behind the keys; four eyes needs two.", no_args_is_help=True)


@people.command("add")
def people_add(
    name: Annotated[str, typer.Argument(help="The person's name.")],
    role: Annotated[list[Role], typer.Option(help="What the person is here for; may be repeated.")],
    email: Annotated[str | None, typer.Option(help="Where approvals are asked for.")] = None,
) -> None:
    """Add a named person."""
    from cli import records  # noqa: PLC0415

    run(records.add_person(settings_or_exit(), console, name=name, roles=role, email=email))


@people.command("list")
def people_list() -> None:
    """Show everybody."""
    from cli import records  # noqa: PLC0415

    run(records.list_people(settings_or_exit(), console))


builds = typer.Typer(help="The builds of the workers (HOLDFAST_BUILD_ID).", no_args_is_help=True)
_Build = Annotated[str, typer.Argument(metavar="BUILD", help="What HOLDFAST_BUILD_ID named.")]


@builds.command("drain")
def workers_drain(
    build: Annotated[str | None, typer.Argument(metavar="[BUILD]", help="Only this; all without.")] = None,
) -> None:
    """Say when an old build may go; with BUILD the exit status is 0 where it may, and 1 where not yet."""
    from cli import builds as deployments  # noqa: PLC0415

    run(deployments.drain(settings_or_exit(), console, build))


@builds.command("promote")
def workers_promote(build: _Build) -> None:
    """Make a build current: stories go over to it by replay, and the one before drains."""
    from cli import builds as deployments  # noqa: PLC0415

    run(deployments.promote(settings_or_exit(), console, build))


custody = typer.Typer(help="The secrets that Holdfast keeps.", no_args_is_help=True)


@custody.command("rewrap")
def custody_rewrap() -> None:
    """Wrap all kept secrets by the first key of CUSTODY_KEYS, so that older keys can be taken off."""
    from cli import records  # noqa: PLC0415

    run(records.rewrap_custody(local_settings_or_exit(), console))


reconciling = typer.Typer(help="Hold the record against the ledger.", invoke_without_command=True)


@reconciling.callback()
def reconcile(context: typer.Context) -> None:
    """Mend the record after a restore: read what the ledger has paid, then let sending begin again."""
    from cli import records  # noqa: PLC0415

    if context.invoked_subcommand is None:
        run(records.reconcile(local_settings_or_exit(), console))


@reconciling.command("payments")
def reconcile_payments(
    everything: Annotated[
        bool, typer.Option("--all", help="Also ask for the marker of each payment older than the RPC's events.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List each payment that ledger or record has and the other lacks; exit status 1 where there is one.

    It reads the contracts' events for as long as the RPC keeps them, and changes nothing. A worker does the same
    every night, and tells people where they differ.
    """
    from cli import reconciling as payments  # noqa: PLC0415

    run(payments.reconcile_payments(local_settings_or_exit(), console, everything=everything, as_json=as_json))


webhooks = typer.Typer(help="Outgoing webhooks.", no_args_is_help=True)


@webhooks.command("list")
def webhooks_list() -> None:
    """Show all endpoints, without their secrets."""
    from cli import webhooks as hooks  # noqa: PLC0415

    run(hooks.list_webhooks(settings_or_exit(), console))


@webhooks.command("replay")
def webhooks_replay(
    endpoint: Annotated[str, typer.Argument(help="Such as hook_0123456789ab; see `holdfast webhooks list`.")],
    since: Annotated[
        str, typer.Option(help="All since then: 2026-01-16T10:00:00Z, or how long ago, such as 90m, 12h or 3d.")
    ] = "",
    delivery: Annotated[int | None, typer.Option(min=1, help="Only this delivery.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help="With --since: only such as payout.confirmed; may be repeated.")
    ] = None,
) -> None:
    """Send again what an endpoint missed. Deliveries keep their ids, so that a receiver knows what it has seen."""
    from cli import webhooks as hooks  # noqa: PLC0415

    run(
        hooks.replay_webhook(
            settings_or_exit(), console, endpoint, since=since, delivery=delivery, names=event or ()
        )
    )


audit = typer.Typer(help="The audit log.", no_args_is_help=True)


@audit.command("verify")
def audit_verify() -> None:
    """Walk the chain of the whole log; exit status 1 where a link is broken."""
    from cli import records  # noqa: PLC0415

    run(records.verify_audit(settings_or_exit(), console))
