"""What the stylesheets may say."""

import re
from pathlib import Path

import pytest

SHEETS = sorted((Path(__file__).parents[2] / "frontend" / "assets" / "styles").glob("*.css"))
PHYSICAL = re.compile(
    r"^\s*((?:margin|padding|border)-(?:left|right)|left|right|float|text-align: *(?:left|right))\b",
    re.MULTILINE,
)


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_a_stylesheet_knows_no_left_or_right(sheet: Path) -> None:
    """A page in a language that is written from right to left is its mirror image."""
    assert not PHYSICAL.findall(sheet.read_text())


def test_what_is_physical_is_found() -> None:
    assert PHYSICAL.findall(
        "a {\n  margin-left: 1rem;\n  right: 0;\n  text-align: left;\n  margin-inline: 0;\n}"
    ) == [
        "margin-left",
        "right",
        "text-align: left",
    ]


def test_a_class_is_described_by_one_page_alone() -> None:
    """All sheets are on every page: two that meant different things by a name would meet."""
    common = {"fonts", "tokens", "base", "parts", "rows"}
    owners: dict[str, set[str]] = {}
    for sheet in SHEETS:
        for name in re.findall(r"^\s*\.([\w-]+)(?= \{|,$)", sheet.read_text(), re.MULTILINE):
            owners.setdefault(name, set()).add(sheet.stem)
    assert not {name: sheets for name, sheets in owners.items() if len(sheets - common) > 1}
