"""The texts of the pages that Reflex composes are in their message file, and each is used."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from frontend import texts

FRONTEND = Path(texts.__file__).parent
SOURCES = sorted([FRONTEND / "app.py", FRONTEND / "shell.py", *(FRONTEND / "pages").glob("*.py")])
FILE = FRONTEND / "assets" / "src" / "texts" / "en" / "pages.json"
# The name of the shop is the same in every language.
NAME = "GitTix"


def literals(source: str) -> Iterator[str]:
    """The strings of a module, without its docstrings."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield text


def is_for_people(text: str) -> bool:
    """Whether the text begins as a sentence or a label does."""
    return text != NAME and bool(re.match(r"[A-Z][a-z]+", text))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_text_of_a_page_stands_in_its_source(path: Path) -> None:
    assert [text for text in literals(path.read_text("utf-8")) if is_for_people(text)] == []


def test_a_text_in_a_source_is_found() -> None:
    source = 'def page():\n    "A page."\n    return narrow("Your account", "shell")'
    assert [text for text in literals(source) if is_for_people(text)] == ["Your account"]


def test_each_text_is_used() -> None:
    used = {text for path in SOURCES for text in literals(path.read_text("utf-8"))}
    names = msgspec.json.decode(FILE.read_bytes(), type=dict[str, str])
    assert {name for name in names if name not in used} == set()
    assert list(names) == sorted(names)
