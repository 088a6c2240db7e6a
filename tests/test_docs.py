"""Pages say what is there: each link leads somewhere, and each test that is named as proof exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


def pages() -> list[str]:
    found = (page for pattern in ("*.md", "*/*.md", "docs/*/*.md") for page in ROOT.glob(pattern))
    return sorted(str(page.relative_to(ROOT)) for page in found)


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere(page: str) -> None:
    assert list(broken_links(ROOT / page)) == []


@pytest.mark.parametrize("page", pages())
def test_every_test_that_is_named_exists(page: str) -> None:
    assert list(missing_tests((ROOT / page).read_text(), ROOT)) == []


def test_each_requirement_is_proved_or_said_to_be_unmet() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (ROOT / "docs/security.md").read_text().splitlines()
        if re.match(r"\| \d", line)
    ]
    assert len(rows) > 50
    assert [
        row[0] for row in rows if not PROOF.fullmatch(row[3]) and "**not met**" not in row[2]
    ] == []


def test_the_pages_for_operators_and_newcomers_are_found_from_the_readme() -> None:
    linked = {target for target, _ in links((ROOT / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("## Who, and why?\n")
    (tmp_path / "test_one.py").write_text("def test_there() -> None: ...\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#who-and-why) [b](other.md#who) [c](gone.md) [d](https://example.com) [e](#none)\n"
        '<img src="gone.png">\n```\n[f](no-link)\n```\n'
    )
    assert list(broken_links(page)) == ["other.md#who", "gone.md", "#none", "gone.png"]
    (tmp_path / "tests").mkdir()
    (tmp_path / "test_one.py").rename(tmp_path / "tests" / "test_one.py")
    named = "`tests/test_one.py::test_there` `tests/test_one.py::test_gone` `tests/test_two.py::test_there`"
    assert list(missing_tests(named, tmp_path)) == [
        "tests/test_one.py::test_gone",
        "tests/test_two.py::test_there",
    ]


def links(text: str) -> Iterator[tuple[str, str]]:
    """The file and the anchor of each link that stays in this repository."""
    for found in LINK.finditer(CODE.sub("", text)):
        target, _, anchor = (found[1] or found[2]).partition("#")
        if "://" not in target:
            yield target, anchor


def broken_links(page: Path) -> Iterator[str]:
    for target, anchor in links(page.read_text()):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            yield target + (f"#{anchor}" if anchor else "")


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(CODE.sub("", text))
    }


def missing_tests(text: str, root: Path) -> Iterator[str]:
    for path, name in PROOF.findall(text):
        file = root / path
        if not file.exists() or name not in functions(file):
            yield f"{path}::{name}"


def functions(file: Path) -> set[str]:
    return {
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
