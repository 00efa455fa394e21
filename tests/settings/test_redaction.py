"""Nothing that guards money is ever logged."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest
import structlog
from stellar_sdk import Keypair

from settings import load_settings
from settings.redaction import redact, redact_value
from settings.telemetry import set_up_logging

SEED = Keypair.from_raw_ed25519_seed(bytes(range(32))).secret
ACCOUNT = Keypair.from_raw_ed25519_seed(bytes(range(32))).public_key


@pytest.mark.parametrize(
    "text",
    [
        f"seed {SEED}.",
        f"secret={SEED}&x=1",
        "postgresql://holdfast:hunter2@db/holdfast",
        "Authorization: Bearer hunter2hunter2",
        "key hf_live_hunter2hunter2",
        "secret whsec_hunter2hunter2",
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert SEED not in redact(text)
    assert "hunter2" not in redact(text)


@pytest.mark.parametrize("text", [ACCOUNT, "a" * 64, "http://127.0.0.1:8000/tx/ab", "S" + "A" * 20, "12:30"])
def test_what_is_public_stays(text: str) -> None:
    assert redact(text) == text


def test_telling_names_hide_their_values_and_a_lanes_pin_is_none() -> None:
    shown = redact_value(
        {
            "password": "hunter2",
            "api_key": "x",
            "pin": "1234",
            "ussd_text": "1*1234",
            "usdc_token": "C1",
            "a": [SEED],
        }
    )
    assert shown == {
        "password": "[redacted]",
        "api_key": "[redacted]",
        "pin": "[redacted]",
        "ussd_text": "[redacted]",
        "usdc_token": "C1",
        "a": ["[redacted]"],
    }
    assert redact_value({"pin": (3, 17)}) == {"pin": [3, 17]}


@pytest.mark.parametrize("json_lines", [True, False])
def test_logs_and_tracebacks_carry_no_secret(json_lines: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    try:
        set_up_logging(load_settings(None, log_json=json_lines), process="test")
        log = structlog.get_logger("test.redaction")
        seed_at_hand = SEED
        log.info("said", seed=seed_at_hand, note=f"has {SEED}")
        logging.getLogger("elsewhere").warning("says %s", SEED)
        try:
            raise ValueError(SEED)
        except ValueError:
            log.exception("failed")
    finally:
        logging.getLogger().handlers, logging.getLogger().level = handlers, level
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    text = stream.getvalue()
    assert SEED not in text
    assert text.count("[redacted]") >= 4
    assert "ValueError" in text
    if json_lines:
        assert all(json.loads(line)["process"] == "test" for line in text.splitlines())
