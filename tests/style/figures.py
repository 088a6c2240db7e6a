"""Print the figures of how the repository reads: words, SQL functions and the front end.

Run as `python -m tests.style.figures`. The exit status is 1 when a figure misses its limit.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.style import prose

MIGRATIONS = Path("backend/migrations")
FRONT_END = Path("frontend/assets/src")
UNIT_TESTS = Path("frontend/tests")
MAX_FUNCTION_LINES = 60

FUNCTION = re.compile(
    r"^create (?:or replace )?(?:function|procedure) (?P<name>[a-z_.]+)\s*\("
    r".*?(?:^\$\$;$|^return\b.*?;$|^end;$)",
    re.MULTILINE | re.DOTALL,
)
# Each of these turns a rule of the compiler or the linter off.
ESCAPES = re.compile(r"\bas any\b|: any\b|<any>|@ts-(?:ignore|expect-error|nocheck)|eslint-disable")


class SqlFunction(NamedTuple):
    """One definition in a file below `functions/`; `lines` includes its signature and settings."""

    name: str
    lines: int


def sql_functions() -> list[SqlFunction]:
    """Returns every definition, also a second one of the same name."""
    return [
        SqlFunction(match["name"], match[0].count("\n") + 1)
        for path in sorted((MIGRATIONS / "functions").rglob("*.sql"))
        for match in FUNCTION.finditer(path.read_text())
    ]


def print_sql_figures() -> bool:
    """Print the figures of the schema. Returns whether they are within their limits."""
    functions = sql_functions()
    counts = Counter(function.name for function in functions)
    # An overload shares its name, in the same file, with other parameters.
    longest = max(functions, key=lambda function: function.lines)
    numbered = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    stray = [path.name for path in numbered if FUNCTION.search(path.read_text())]
    print(f"numbered migrations: {len(numbered)}; of these define functions: {len(stray)}")
    print(f"functions: {len(functions)}, of {len(counts)} names")
    print(f"longest function: {longest.name}, {longest.lines} lines")
    return not stray and longest.lines <= MAX_FUNCTION_LINES


def print_front_end_figures() -> bool:
    """Print the figures of the front end. Returns whether they are within their limits."""
    sources = [path for path in FRONT_END.rglob("*") if path.suffix in {".ts", ".tsx"}]
    untyped = [path for path in FRONT_END.rglob("*") if path.suffix in {".js", ".jsx"}]
    lines = sum(len(path.read_text().splitlines()) for path in sources)
    escapes = sum(len(ESCAPES.findall(path.read_text())) for path in sources)
    unit_tests = sum(
        path.name.endswith((".test.ts", ".test.tsx")) for path in UNIT_TESTS.rglob("*")
    )
    print(f"TypeScript: {len(sources)} files, {lines:,} lines; JavaScript: {len(untyped)} files")
    print(f"rules turned off (any, ts-ignore, eslint-disable): {escapes}")
    print(f"files of unit tests: {unit_tests}")
    return not untyped


def main() -> int:
    print("Words of comments and docstrings")
    are_words_within = prose.print_figures(prose.tracked_files([]))
    print("\nSQL")
    is_sql_within = print_sql_figures()
    print("\nFront end")
    is_front_end_within = print_front_end_figures()
    return 0 if are_words_within and is_sql_within and is_front_end_within else 1


if __name__ == "__main__":
    sys.exit(main())
