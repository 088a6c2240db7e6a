"""The measures find the words, the wide lines and the SQL functions that they claim to find."""

from pathlib import Path

import pytest

from tests.style import figures, prose
from tests.style.prose import Count

PYTHON = '''"""A module that tells nothing.

It raises an error.
"""

SQL = """select who from people"""  # a string that is assigned is no docstring


def look() -> str:
    """Returns what it heard."""
    # noqa: X1
    return "say"  # a comment, whoever reads it
'''
SQL = "-- Raise for who calls.\nselect 'what';  -- the caller\n"
TYPESCRIPT = """// Calls back with an error.
/**
 * Returns whatever it was told.
 */
const url = "https://example.com/who"; // said
{/* heard */}
"""


def lines(tmp_path: Path, name: str, text: str) -> list[str]:
    path = tmp_path / name
    path.write_text(text)
    return [line.text for line in prose.prose(path)]


@pytest.mark.parametrize(
    ("name", "text", "vague", "exact"),
    [
        (
            "module.py",
            PYTHON,
            ["tells", "what", "heard", "whoever"],
            ["raises", "error", "Returns"],
        ),
        ("function.sql", SQL, ["who"], ["Raise", "calls", "caller"]),
        (
            "page.tsx",
            TYPESCRIPT,
            ["whatever", "told", "said", "heard"],
            ["Calls", "error", "Returns"],
        ),
    ],
)
def test_words_are_counted_in_comments_and_docstrings_only(
    tmp_path: Path, name: str, text: str, vague: list[str], exact: list[str]
) -> None:
    words = prose.WORD.findall("\n".join(lines(tmp_path, name, text)))
    assert [word for word in words if prose.VAGUE.fullmatch(word)] == vague
    assert [word for word in words if prose.EXACT.fullmatch(word)] == exact


def test_a_figure_is_a_rate_per_thousand_words() -> None:
    count = Count().plus("who returns " + "word " * 498)
    assert count == Count(words=500, vague=1, exact=1)
    assert count.per_thousand(count.vague) == 2.0
    assert Count().per_thousand(0) == 0.0


def test_a_line_of_more_than_100_columns_is_wide_unless_one_word_makes_it_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "page.md"
    path.write_text("\n".join(["word " * 20, "word " * 21, "see https://" + "x" * 100, "fits"]))
    assert [line.number for line in prose.too_long(path)] == [2]


@pytest.mark.parametrize(
    ("text", "is_within"),
    [
        ("# A caller gets an error.\n", True),
        ("# A caller gets an error, whoever it is.\n", False),
        ("# Nothing of the trade stands here.\n", False),
        ("# A caller gets an error. " + "word " * 16 + "\n", False),
    ],
    ids=["plain words", "a vague word", "no exact word", "a wide line"],
)
def test_a_missed_limit_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_within: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("backend/module.py")
    path.parent.mkdir()
    path.write_text(text)
    assert prose.print_figures([path]) is is_within


def test_generated_files_are_not_measured() -> None:
    measured = {str(path) for path in prose.tracked_files([])}
    assert "backend/migrations/functions/orders/place.sql" in measured
    assert "backend/migrations/schema.sql" not in measured
    assert "frontend/assets/src/shared/api-types.ts" not in measured


def test_each_sql_function_is_found_with_its_length() -> None:
    functions = {function.name: function.lines for function in figures.sql_functions()}
    definitions = sum(
        line.startswith(("create function", "create or replace function", "create procedure"))
        for path in (figures.MIGRATIONS / "functions").rglob("*.sql")
        for line in path.read_text().splitlines()
    )
    assert len(figures.sql_functions()) == definitions
    assert functions["orders.place"] > 20
