"""Tables as CSV: a spreadsheet shows what stands in them and never runs it."""

from __future__ import annotations


def plain_cell(cell: object) -> str:
    """A cell that a spreadsheet shows and never runs as a formula."""
    text = "" if cell is None else f"{cell:f}" if hasattr(cell, "quantize") else str(cell)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t"} else text
