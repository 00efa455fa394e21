"""The doctor's look at a contract: whether it is there, runs the committed code, and for how long it lives."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256

from adapters.stellar.deployment import LIFE_LEDGERS_LEAST, Deployment
from adapters.stellar.entries import code_key, instance_key, wasm_hash_of
from adapters.stellar.rpc import Rpc
from cli.deploy import committed_wasm
from cli.findings import Findings


async def runs_committed_code(
    rpc: Rpc,
    deployment: Deployment,
    findings: Findings,
    contract: str,
    *,
    wasm: str,
    check: str,
    words: str,
    setting: str,
    close_seconds: float,
) -> bool:
    """Add what is found; False where there is no contract to ask further.

    Args:
        wasm: the contract's name among the committed ones.
        check: what the lines begin with, such as `contract`.
        words: the contract in a sentence, such as `the SLA contract`.
        setting: which one names it.
        close_seconds: a ledger's, to tell a life in days.
    """
    found = await rpc.ledger_entries([key := instance_key(contract)])
    entry = found.by_key.get(key.to_xdr())
    if entry is None:
        findings.fail(check, f"{contract} is not on the ledger", "`holdfast deploy` deploys it.")
        return False
    if entry.live_until is not None and entry.live_until < found.ledger:
        findings.warn(check, f"{contract} is archived", "The next payment restores it, for a fee.")
    code = wasm_hash_of(entry.data)
    if code is None:
        findings.fail(
            f"{check} code",
            f"{contract} is not {words}: it has no code of its own, as the contract of an asset",
            f"Set {setting} to {words}'s id; `holdfast deploy` prints it.",
        )
        return False
    committed = sha256(committed_wasm(wasm)).digest()
    if code == committed:
        findings.ok(f"{check} code", f"{contract} runs the committed code {committed.hex()[:16]}…")
    else:
        findings.fail(
            f"{check} code",
            f"{contract} runs {code.hex()[:16]}…, not the committed {committed.hex()[:16]}…",
            "Upgrade the contract (`upgrade`, by its administrator), or check out the release it belongs to.",
        )
    ledgers = await deployment.life([instance_key(contract), code_key(code)])
    told = (
        f"contract and code live for {ledgers} ledgers, about {days(timedelta(seconds=ledgers * close_seconds))}"
    )
    if ledgers < LIFE_LEDGERS_LEAST // 2:
        findings.warn(f"{check} life", told, "`holdfast deploy` extends it; archived, payments stop.")
    else:
        findings.ok(f"{check} life", told)
    return True


def days(left: timedelta) -> str:
    """A time in days, or in hours where it is short."""
    return f"{left.days} days" if left.days > 1 else f"{left.total_seconds() / 3600:.0f} hours"
