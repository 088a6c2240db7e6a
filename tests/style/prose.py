"""Count the words of comments and docstrings, and find lines over 100 columns.

Run as `python -m tests.style.prose [--list] [PATH ...]`. It prints, for each top-level folder, the
words of its comments and docstrings, and how many of 1,000 belong to each of two families:

- vague: who, what, tell, say, hear, look and their forms. They hide the actor and the mechanism.
- exact: error, exception, raise, return, call and their forms, the trade's own words.

`--list` prints each line with a vague word, and each line that is too long. The exit status is 1
when a figure is outside its limit.
"""

import argparse
import io
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_COLUMNS = 100
MAX_VAGUE = 3.0
MIN_EXACT = 10.0

COUNTED_FOLDERS = ("backend", "workers", "frontend", "loadtests", "tests")
COMMENT_MARKS = {".sql": "--", ".ts": "//", ".tsx": "//", ".js": "//", ".jsx": "//", ".mjs": "//"}
MEASURED_SUFFIXES = {".py", ".md", ".css", *COMMENT_MARKS}
# Written by tools: nobody formats them.
GENERATED = re.compile(r"(^|/)(schema\.sql|api-types\.ts|package-lock\.json)$")

WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
VAGUE = re.compile(
    r"(?:who(?:m|se|ever|mever)?|what(?:ever)?|tell(?:s|ing)?|told|sa(?:y|ys|id|ying)"
    r"|hear(?:s|d|ing)?|look(?:s|ed|ing)?)",
    re.IGNORECASE,
)
EXACT = re.compile(
    r"(?:errors?|exceptions?|rais(?:e|es|ed|ing)|return(?:s|ed|ing)?|call(?:s|ed|ing|ers?|backs?)?)",
    re.IGNORECASE,
)


class Line(NamedTuple):
    """One line of a comment or docstring, or of a file."""

    path: Path
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}: {self.text.strip()}"


class Count(NamedTuple):
    """Numbers of words: all of them, and those of each family."""

    words: int = 0
    vague: int = 0
    exact: int = 0

    def plus(self, text: str) -> "Count":
        words = WORD.findall(text)
        return Count(
            self.words + len(words),
            self.vague + sum(bool(VAGUE.fullmatch(word)) for word in words),
            self.exact + sum(bool(EXACT.fullmatch(word)) for word in words),
        )

    def per_thousand(self, family: int) -> float:
        return family * 1000 / self.words if self.words else 0.0


def tracked_files(paths: list[str]) -> list[Path]:
    """Files of the working tree that git tracks or would add, below the given paths."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [
        path
        for path in map(Path, sorted(set(listed.splitlines())))
        if path.suffix in MEASURED_SUFFIXES and path.is_file() and not GENERATED.search(str(path))
    ]


def prose(path: Path) -> Iterator[Line]:
    """The lines of the file's comments and docstrings."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from _python_prose(path, text)
    elif path.suffix in COMMENT_MARKS:
        yield from _marked_prose(path, text, COMMENT_MARKS[path.suffix])


def too_long(path: Path) -> Iterator[Line]:
    """Yields lines over `MAX_COLUMNS`, except those that one long word or a CSS `url(` makes long."""
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if len(text) <= MAX_COLUMNS or "url(" in text:
            continue
        if max(map(len, text.split()), default=0) <= MAX_COLUMNS // 2:
            yield Line(path, number, text)


def count_by_folder(paths: list[Path]) -> dict[str, Count]:
    counts: defaultdict[str, Count] = defaultdict(Count)
    for path in paths:
        if path.parts[0] in COUNTED_FOLDERS:
            for line in prose(path):
                counts[path.parts[0]] = counts[path.parts[0]].plus(line.text)
    return dict(counts)


def _python_prose(path: Path, text: str) -> Iterator[Line]:
    previous = tokenize.NEWLINE
    starts_statement = {tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if not token.string.startswith(("# noqa", "# type:", "#!")):
                yield Line(path, token.start[0], token.string)
            continue
        if token.type == tokenize.NL:
            continue
        if token.type == tokenize.STRING and previous in starts_statement and '"""' in token.string:
            for offset, part in enumerate(token.string.splitlines()):
                yield Line(path, token.start[0] + offset, part)
        previous = token.type


def _marked_prose(path: Path, text: str, mark: str) -> Iterator[Line]:
    in_block = False
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        in_block = in_block or (mark == "//" and stripped.startswith(("/*", "{/*")))
        # The slashes of a URL start no comment.
        comment = re.search(rf"(?<!:){mark}(.*)", line)
        if in_block:
            yield Line(path, number, stripped)
        elif comment:
            yield Line(path, number, comment[1])
        in_block = in_block and "*/" not in stripped


def _print_counts(counts: dict[str, Count]) -> bool:
    """Print one row a folder and their sum. Returns whether the sum is within the limits."""
    total = Count(*map(sum, zip(*counts.values(), strict=True))) if counts else Count()
    print(f"{'':12}{'words':>9}{'vague/1000':>12}{'exact/1000':>12}")
    for name, count in [*counts.items(), ("all", total)]:
        vague, exact = count.per_thousand(count.vague), count.per_thousand(count.exact)
        print(f"{name:12}{count.words:>9,}{vague:>12.1f}{exact:>12.1f}")
    vague, exact = total.per_thousand(total.vague), total.per_thousand(total.exact)
    return vague < MAX_VAGUE and exact > MIN_EXACT


def print_figures(files: list[Path]) -> bool:
    """Print the words and the number of wide lines. Returns whether they are within the limits."""
    wide = sum(1 for path in files for _ in too_long(path))
    are_words_within = _print_counts(count_by_folder(files))
    print(f"lines over {MAX_COLUMNS} columns: {wide}")
    return are_words_within and not wide


def _print_lines(files: list[Path]) -> None:
    for path in files:
        for line in prose(path):
            if any(VAGUE.fullmatch(word) for word in WORD.findall(line.text)):
                print(f"vague  {line}")
    for path in files:
        for line in too_long(path):
            print(f"wide   {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print the lines behind the figures")
    parser.add_argument("paths", nargs="*", help="files or folders; by default the repository")
    arguments = parser.parse_args()
    files = tracked_files(arguments.paths)
    if arguments.list:
        _print_lines(files)
    return 0 if print_figures(files) else 1


if __name__ == "__main__":
    sys.exit(main())
