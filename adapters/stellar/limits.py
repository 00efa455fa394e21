"""How many payments one contract call may hold: the network's own settings, and the contract's cap for a call.

What a payment needs was measured on the built contract; tests/batch/test_limits.py holds it against the ledger.
The network bounds the bytes of events first: a token tells of each transfer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stellar_sdk import Account, Asset, TransactionBuilder, scval, xdr

from adapters.stellar.calls import map_fields
from adapters.stellar.contract_errors import explain
from adapters.stellar.entries import asset_of, instance_key
from adapters.stellar.footprint import WriteFees
from adapters.stellar.rpc import Rpc
from domain.batch import CallLimits
from domain.errors import Refused, Unavailable
from domain.money import AMOUNT_MAX, Amount

RECIPIENTS_MAX: Final = 200
"""The contract's own limit (contracts/payout `MAX_RECIPIENTS`)."""

# Bytes of events: those of a Stellar Asset Contract's transfer without the asset's name, and what the call adds.
_EVENT: Final = 184
_EVENT_MUXED_MORE: Final = 60
_NAME_UNKNOWN: Final = 128
_CALL_EVENTS: Final = 640
_CALL_EVENTS_RECIPIENT: Final = 8
"""A recipient's byte stands in the call's event and in its result, each padded to four."""
# What else a recipient needs at most.
_INSTRUCTIONS: Final = 480_000
_CALL_INSTRUCTIONS: Final = 3_000_000
_WRITE_BYTES: Final = 260
_CALL_WRITE_BYTES: Final = 1_200
_READ_BYTES: Final = 200
_ENTRIES: Final = 1
_CALL_ENTRIES: Final = 10
_ENVELOPE_BYTES: Final = 240
"""In the arguments, again in the authorization, and as a key of the footprint."""
_CALL_ENVELOPE_BYTES: Final = 3_000


def _key(setting: xdr.ConfigSettingID) -> xdr.LedgerKey:
    return xdr.LedgerKey(
        type=xdr.LedgerEntryType.CONFIG_SETTING,
        config_setting=xdr.LedgerKeyConfigSetting(config_setting_id=setting),
    )


_SETTINGS: Final = {
    name: _key(getattr(xdr.ConfigSettingID, f"CONFIG_SETTING_{name.upper()}"))
    for name in (
        "contract_compute_v0",
        "contract_ledger_cost_v0",
        "contract_ledger_cost_ext_v0",
        "contract_events_v0",
        "contract_bandwidth_v0",
    )
}


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """What one transaction may use, from the network's config entries."""

    instructions: int
    disk_read_entries: int
    disk_read_bytes: int
    write_entries: int
    write_bytes: int
    footprint_entries: int
    events_bytes: int
    envelope_bytes: int
    write_fees: WriteFees

    @property
    def rows_max(self) -> int:
        """How many recipients fit, whatever their events take."""
        return max(
            1,
            min(
                RECIPIENTS_MAX,
                # A tenth is kept for `with_headroom`.
                (self.instructions * 9 // 10 - _CALL_INSTRUCTIONS) // _INSTRUCTIONS,
                self.disk_read_entries - _CALL_ENTRIES,
                self.disk_read_bytes * 9 // 10 // _READ_BYTES,
                (self.write_entries - _CALL_ENTRIES) // _ENTRIES,
                (self.write_bytes * 9 // 10 - _CALL_WRITE_BYTES) // _WRITE_BYTES,
                self.footprint_entries - _CALL_ENTRIES,
                (self.envelope_bytes - _CALL_ENVELOPE_BYTES) // _ENVELOPE_BYTES,
            ),
        )


async def read_limits(rpc: Rpc) -> NetworkLimits:
    """Read what the network allows now.

    Raises:
        Unavailable: the ledger does not answer, or not with its settings.
    """
    found = (await rpc.ledger_entries(list(_SETTINGS.values()))).by_key
    values: dict[str, xdr.ConfigSettingEntry] = {}
    for name, key in _SETTINGS.items():
        entry = found.get(key.to_xdr())
        if entry is None or entry.data.config_setting is None:
            raise Unavailable(f"the ledger does not tell its setting {name}", code="ledger_unavailable")
        values[name] = entry.data.config_setting
    compute = values["contract_compute_v0"].contract_compute
    cost = values["contract_ledger_cost_v0"].contract_ledger_cost
    ext = values["contract_ledger_cost_ext_v0"].contract_ledger_cost_ext
    events = values["contract_events_v0"].contract_events
    bandwidth = values["contract_bandwidth_v0"].contract_bandwidth
    if compute is None or cost is None or ext is None or events is None or bandwidth is None:
        raise Unavailable("the ledger tells another setting than it was asked for", code="ledger_unavailable")
    return NetworkLimits(
        instructions=compute.tx_max_instructions.int64,
        disk_read_entries=cost.tx_max_disk_read_entries.uint32,
        disk_read_bytes=cost.tx_max_disk_read_bytes.uint32,
        write_entries=cost.tx_max_write_ledger_entries.uint32,
        write_bytes=cost.tx_max_write_bytes.uint32,
        footprint_entries=ext.tx_max_footprint_entries.uint32,
        events_bytes=events.tx_max_contract_events_size_bytes.uint32,
        envelope_bytes=bandwidth.tx_max_size_bytes.uint32,
        write_fees=WriteFees(entry=cost.fee_write_ledger_entry.int64, kilobyte=ext.fee_write1_kb.int64),
    )


class CallLimitsReader:
    """Reads how batches of one payout contract are to be cut."""

    def __init__(
        self, rpc: Rpc, *, contract: str, network_passphrase: str, amount_max: Amount | None = None
    ) -> None:
        """`amount_max` is the policy's limit for one payment."""
        self._rpc = rpc
        self._contract = contract
        self._network_passphrase = network_passphrase
        self._amount_max = AMOUNT_MAX if amount_max is None else amount_max.units

    async def read(self, token: str, *, reader: str) -> CallLimits:
        """The limits of a call that pays `token` (a contract id); `reader` is any account there is.

        Raises:
            Refused: `asset_not_allowed`: the payout contract does not pay this token.
            Unavailable: the ledger does not answer.
        """
        limits = await read_limits(self._rpc)
        cap = await self._cap(token, reader)
        event = _EVENT + await self._name_bytes(token) + _CALL_EVENTS_RECIPIENT
        return CallLimits(
            rows_max=limits.rows_max,
            weight_max=max(1, limits.events_bytes - _CALL_EVENTS),
            account_weight=event,
            muxed_weight=event + _EVENT_MUXED_MORE,
            contract_weight=event,
            units_max=min(cap, self._amount_max, AMOUNT_MAX),
        )

    async def _cap(self, token: str, reader: str) -> int:
        """The contract's cap for one call, in units of 10⁻⁷."""
        builder = TransactionBuilder(Account(reader, 0), self._network_passphrase, base_fee=100)
        builder.add_time_bounds(0, 0)
        builder.append_invoke_contract_function_op(self._contract, "get_token", [scval.to_address(token)])
        simulated = await self._rpc.simulate(builder.build().to_xdr())
        if simulated.error is not None:
            raise explain(simulated.error)
        fields = map_fields(xdr.SCVal.from_xdr(simulated.result))
        if "per_call" not in fields:
            raise Refused(f"the payout contract does not pay {token}", code="asset_not_allowed", asset=token)
        return scval.from_int128(fields["per_call"])

    async def _name_bytes(self, token: str) -> int:
        """How long the asset's name is in an event; of a token of another make, more than any name."""
        key = instance_key(token)
        entry = (await self._rpc.ledger_entries([key])).by_key.get(key.to_xdr())
        if entry is None:
            raise Refused(f"there is no token {token} on the ledger", code="contract_missing", asset=token)
        if token == Asset.native().contract_id(self._network_passphrase):
            return _padded(len("native"))
        asset = asset_of(entry.data)
        return _NAME_UNKNOWN if asset is None else _padded(len(f"{asset.code}:{asset.issuer}"))


def _padded(length: int) -> int:
    return (length + 3) // 4 * 4
