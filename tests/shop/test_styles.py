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


TOKENS = next(sheet for sheet in SHEETS if sheet.name == "tokens.css").read_text()
MARKS = ("held-ring", "sold", "edge", "accent", "free", "held")
TEXTS = ("ink", "soft", "accent", "free", "held", "danger")
GROUNDS = ("paper", "card", "tint")


def colours(theme: str) -> dict[str, str]:
    """The colours of a theme by their names; the dark one replaces those of the light one."""
    light, dark = TOKENS.split(".dark {")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    if theme == "dark":
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))
    return found


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2)."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of `#rrggbb`, from 0 to 1 (WCAG 2.2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_marks_have_a_contrast_of_3_and_texts_of_4_5(theme: str) -> None:
    found = colours(theme)
    for names, least in ((MARKS, 3), (TEXTS, 4.5)):
        for name in names:
            for ground in GROUNDS:
                assert contrast(found[name], found[ground]) >= least, (name, ground)
    # The ring of a hold stands on the tint of a held row as well.
    assert contrast(found["held-ring"], found["held-tint"]) >= 3


def test_the_contrast_of_a_pale_amber_is_too_low() -> None:
    """The negative control; black on white is the highest ratio."""
    assert contrast("#e8a317", colours("light")["card"]) < 3
    assert round(contrast("#000000", "#ffffff"), 1) == 21
