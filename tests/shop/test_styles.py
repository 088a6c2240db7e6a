"""Rules for the stylesheets."""

import re
from pathlib import Path

import pytest

SHEETS = sorted((Path(__file__).parents[2] / "frontend" / "assets" / "styles").glob("*.css"))
PHYSICAL = re.compile(
    r"^\s*((?:margin|padding|border)-(?:left|right)|left|right|float|text-align: *(?:left|right))\b",
    re.MULTILINE,
)


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_stylesheet_has_no_physical_left_or_right(sheet: Path) -> None:
    """Logical properties mirror a page whose language is written from right to left."""
    assert not PHYSICAL.findall(sheet.read_text())


def test_physical_properties_are_found() -> None:
    assert PHYSICAL.findall(
        "a {\n  margin-left: 1rem;\n  right: 0;\n  text-align: left;\n  margin-inline: 0;\n}"
    ) == [
        "margin-left",
        "right",
        "text-align: left",
    ]


def test_a_class_is_styled_by_one_pages_stylesheet_only() -> None:
    """All stylesheets are on every page, so a name must not have two meanings."""
    common = {"fonts", "tokens", "base", "parts", "rows"}
    owners: dict[str, set[str]] = {}
    for sheet in SHEETS:
        for name in re.findall(r"^\s*\.([\w-]+)(?= \{|,$)", sheet.read_text(), re.MULTILINE):
            owners.setdefault(name, set()).add(sheet.stem)
    assert not {name: sheets for name, sheets in owners.items() if len(sheets - common) > 1}
