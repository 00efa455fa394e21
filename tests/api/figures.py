"""The guide's outage, and the accounts of these tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

OPERATOR = "GDGQVOKHW4VEJRU2TETD6DBRKEO5ERCNF353LW5WBFW3JJWQ2BRQ6KDD"
NOC = "GB6NVEN5HSUBKMYCE5ZOWSK5K23TBWRUQLZY3KNMXUZ3AQ2ESC4MY4AQ"
SECRET = "SDAKFNYEIAORZKKCYRILFQKLLOCNPL5SWJ3YY5NM3ZH6GJSZGXHZEPQS"
NOW = datetime(2026, 1, 16, 9, 0, tzinfo=UTC)
REPORT: dict[str, Any] = {
    "site_name": "Test Site",
    "severity": "critical",
    "detected_at": "2026-01-16T10:00:00Z",
}
RESOLVE: dict[str, Any] = {"status": "resolved", "resolved_at": "2026-01-16T10:25:00Z"}
