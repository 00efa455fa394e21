"""The generated pages say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from cli.docs import PAGES, out_of_date, settings_page, states_page
from settings import Settings


def test_every_page_is_up_to_date() -> None:
    assert out_of_date() == []


def test_a_changed_page_is_named(tmp_path: Path) -> None:
    assert set(out_of_date(tmp_path)) == set(PAGES)


def test_every_setting_has_a_sentence_and_says_what_is_right() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description is not None, name
        assert field.description.endswith("."), name
        extra = field.json_schema_extra
        assert isinstance(extra, dict), name
        assert extra["right"], name
        assert extra["default_text"] or field.default_factory is None, name
        assert f"`{name.upper()}`" in settings_page()


def test_every_transition_is_drawn() -> None:
    assert re.search(r"submitted --> confirmed", states_page())
    assert re.search(r"unknown --> failed", states_page())
