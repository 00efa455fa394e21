"""What no request may carry is refused in one place, whatever the route."""

from __future__ import annotations

import pytest

from tests.api.conftest import Front
from tests.api.test_outages import assert_problem


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/outages?site_name=%00",
        "/api/v1/outages?operator=a%00",
        "/api/v1/payments/history?operator=%00",
        "/api/v1/statements/2026-01.csv?operator=%00",
        "/api/v1/events?follow=false&operator=%00",
        "/api/v1/sites/%00",
        "/api/v1/outages/OUT001%00",
    ],
)
async def test_a_nul_in_a_path_or_query_is_bad_input_and_no_mistake_of_ours(front: Front, path: str) -> None:
    assert_problem(await front.admin.get(path), 422, "invalid_input")
