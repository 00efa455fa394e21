"""The pages lead somewhere: links and anchors exist, and so do the commands and settings that they name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.main import app
from settings import Settings
from settings.source import environment_names

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^\s*```.*?^\s*```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
_MAKE = re.compile(r"(?:^|`|\$ |&& )make (?P<target>[a-z][a-z-]*)", re.MULTILINE)
_HOLDFAST = re.compile(r"(?:^|`|\$ |\| )holdfast (?P<words>[a-z]+(?: [a-z]+)?)", re.MULTILINE)
_ASSIGNED = re.compile(r"^(?P<name>[A-Z][A-Z0-9_]{3,})=", re.MULTILINE)
_OF_NO_PROCESS_OF_OURS = {"HOLDFAST_UPDATE_BUDGETS", "RCA", "HOOK", "API", "KEY", "APPROVER"}


def anchors(page: Path) -> set[str]:
    """Headings' anchors, as GitHub makes them."""
    text = _FENCE.sub("", page.read_text())
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", match["text"]).lower()).replace(" ", "-")
        for match in _HEADING.finditer(text)
    }


def _commands_of(command: Any) -> dict[str, Any]:
    """The commands beneath a group's; none beneath a plain command."""
    return dict(getattr(command, "commands", {}))


def spoken(page: Path) -> str:
    return page.read_text().replace("\\\n", " ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_page_and_a_heading(page: Path) -> None:
    text = _CODE.sub("", _FENCE.sub("", page.read_text()))
    dead = []
    for match in _LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            dead.append(match["target"])
    assert dead == []


def test_every_page_of_the_docs_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / match["target"].partition("#")[0]).resolve() for match in _LINK.finditer(index.read_text())
    }
    assert [str(page.relative_to(ROOT)) for page in PAGES if page.is_relative_to(ROOT / "docs")
            and page != index and page not in linked] == []  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {match["target"] for match in _MAKE.finditer(spoken(page))} - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_holdfast_command_exists(page: Path) -> None:
    commands = _commands_of(typer.main.get_command(app))
    wrong = []
    for match in _HOLDFAST.finditer(spoken(page)):
        first, _, second = match["words"].partition(" ")
        below = _commands_of(commands[first]) if first in commands else {}
        if first not in commands or (below and second and second not in below):
            wrong.append(match["words"])
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_that_is_set_in_an_example_is_a_setting(page: Path) -> None:
    known = {name for field, info in Settings.model_fields.items() for name in environment_names(field, info)}
    examples = "\n".join(match.group() for match in _FENCE.finditer(page.read_text()))
    named = {match["name"] for match in _ASSIGNED.finditer(examples)} - _OF_NO_PROCESS_OF_OURS
    assert {name for name in named if name.removesuffix("_FILE") not in known} == set()
