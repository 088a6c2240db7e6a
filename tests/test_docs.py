"""The documentation agrees with the repository: its links, named tests, lists and diagrams."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.check import rights
from backend.check.invariants import INVARIANTS
from backend.events.catalogue import TYPES
from backend.kernel.settings import Settings
from tests.system import System

ROOT = Path(__file__).parents[1]
DESIGN = (ROOT / "docs/design.md").read_text()
LINK = re.compile(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"")
REQUIREMENT = re.compile(r"^- \*\*(\d[\d., ]*)\*\* (.*(?:\n  .*)*)", re.MULTILINE)
CLAIM = re.compile(r"^- .*(?:\n  .*)*", re.MULTILINE)
PROOF = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FOLDERS = "backend|workers|frontend|loadtests|tests|docs|k8s|ingress"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)`")
# Names of files that a reader will create, and folders of installed packages.
ABSENT = re.compile(r"/NNNN_\w+\.sql$|/node_modules$")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
DIAGRAM = re.compile(r"^`(\w+\.\w+)`\n\n```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
EDGE = re.compile(r"^ *(\w+|\[\*\]) --> (\w+|\[\*\])", re.MULTILINE)
ROUTE = re.compile(r"Route\(\s*\"(/api/[^\"]+)\",[^)]*?methods=\[([^\]]+)\]")
# The names that a link may lead to, in files that have no headings: `path#name`.
SYMBOLS = {
    ".sql": re.compile(
        r"^create (?:or replace )?(?:unique )?(?:function|procedure|table|trigger|index) ([\w.]+)",
        re.MULTILINE | re.IGNORECASE,
    ),
    "Makefile": re.compile(r"^([a-z-]+):", re.MULTILINE),
    "script": re.compile(
        r"^(?:export )?(?:default )?(?:async )?(?:function|const|class|interface|type) (\w+)",
        re.MULTILINE,
    ),
}
SCRIPTS = {".js", ".jsx", ".ts", ".tsx"}


def pages() -> list[str]:
    found = (page for pattern in ("*.md", "*/*.md", "docs/*/*.md") for page in ROOT.glob(pattern))
    return sorted(str(page.relative_to(ROOT)) for page in found)


@pytest.mark.parametrize("page", pages())
def test_every_link_resolves(page: str) -> None:
    assert list(broken_links(ROOT / page)) == []


@pytest.mark.parametrize("page", pages())
def test_every_named_test_exists(page: str) -> None:
    assert list(missing_tests((ROOT / page).read_text(), ROOT)) == []


@pytest.mark.parametrize("page", pages())
def test_every_named_file_exists(page: str) -> None:
    named = {path for path in PATH.findall((ROOT / page).read_text()) if not ABSENT.search(path)}
    assert sorted(path for path in named if not (ROOT / path).exists()) == []


def test_each_security_requirement_names_a_test_or_is_marked_as_not_met() -> None:
    requirements = REQUIREMENT.findall((ROOT / "docs/security.md").read_text())
    assert len(requirements) > 50
    assert [
        number
        for number, text in requirements
        if not PROOF.search(text) and "**Not met**" not in text
    ] == []


def test_each_boundary_and_each_other_claim_about_security_names_a_test() -> None:
    text = (ROOT / "docs/security.md").read_text()
    lists = [
        text.partition(f"{heading}\n\n")[2].partition("\n\n")[0]
        for heading in ("## Boundaries", "Beyond ASVS:")
    ]
    claims = [claim for each in lists for claim in CLAIM.findall(each)]
    assert len(claims) > 20
    assert [claim for claim in claims if not PROOF.search(claim)] == []


def test_the_readme_links_to_every_page_of_docs() -> None:
    linked = {target for target, _ in links((ROOT / "README.md").read_text())}
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


async def test_the_state_diagrams_are_the_transition_tables(system: System) -> None:
    owner = await system.connect()
    tables = await owner.fetch(
        """
        select schemaname || '.' || tablename as name
        from pg_tables where tablename like '%transitions'
        """
    )
    assert diagrams().keys() == {table["name"] for table in tables}
    for table, edges in diagrams().items():
        rows = await owner.fetch(f"select from_status, to_status from {table}")
        assert {edge for edge in edges if "[*]" not in edge} == {tuple(row) for row in rows}
        ends = {from_status for from_status, to_status in edges if to_status == "[*]"}
        assert ends & {row["from_status"] for row in rows} == set(), "an end state has no successor"


def test_the_design_lists_every_invariant_function_event_type_route_and_setting() -> None:
    assert re.findall(r"^\| (I\d+) \|", DESIGN, re.MULTILINE) == [one.name for one in INVARIANTS]
    functions = set(re.findall(r"`(\w+\.\w+)`", section("Callable functions")))
    assert functions == set().union(*rights.CALLS.values())
    assert set(re.findall(r"`(\w+\.\w+)`", section("Events"))) == TYPES
    assert set(re.findall(r"`([A-Z]+ /api/[^`]+)`", section("HTTP API"))) == set(routes())
    settings = {name.upper() for name in Settings.__struct_fields__}
    assert set(re.findall(r"`([A-Z_]+)`", section("Settings"))) == settings


def test_the_log_lines_that_operators_search_for_exist() -> None:
    named = re.findall(r"log\s+line\s+`([^`]+)`", (ROOT / "docs/operating.md").read_text())
    assert len(named) > 5
    sources = [file for folder in ("backend", "workers") for file in (ROOT / folder).rglob("*.py")]
    code = "\n".join(file.read_text() for file in sources)
    assert [line for line in named if f'"{line}"' not in code] == []


def test_each_decision_has_its_number_and_its_four_parts() -> None:
    decisions = sorted((ROOT / "docs/decisions").glob("*.md"))
    for number, decision in enumerate(decisions, 1):
        text = decision.read_text()
        assert decision.name.startswith(f"{number:04}-"), "numbers are unique and without gaps"
        assert text.startswith(f"# {number}. "), decision.name
        parts = re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences", "Alternatives"], decision.name


def test_the_glossary_has_each_term_once_in_alphabetical_order() -> None:
    terms = re.findall(r"^- \*\*(.+?)\*\*", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE)
    assert len(terms) > 50
    assert terms == sorted(set(terms), key=str.lower)


def test_a_broken_link_and_a_missing_test_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("## Who, and why?\n")
    (tmp_path / "code.py").write_text("LIMIT = 1\nclass One:\n    def two(self) -> None: ...\n")
    (tmp_path / "code.sql").write_text("create function orders.place() returns void\n")
    (tmp_path / "test_one.py").write_text("def test_there() -> None: ...\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#who-and-why) [b](other.md#who) [c](gone.md) [d](https://example.com)\n"
        "[e](#none) [g](code.py#One.two) [h](code.py#LIMIT) [i](code.py#two)\n"
        "[j](code.sql#orders.place) [k](code.sql#place)\n"
        '<img src="gone.png">\n```\n[f](no-link)\n```\n'
    )
    assert list(broken_links(page)) == [
        "other.md#who",
        "gone.md",
        "#none",
        "code.py#two",
        "code.sql#place",
        "gone.png",
    ]
    (tmp_path / "tests").mkdir()
    (tmp_path / "test_one.py").rename(tmp_path / "tests" / "test_one.py")
    named = (
        "`tests/test_one.py::test_there` `tests/test_one.py::test_gone` "
        "`tests/test_two.py::test_there`"
    )
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
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target + (f"#{anchor}" if anchor else "")


def anchors(file: Path) -> set[str]:
    """Return the anchors of a file: headings as GitHub writes them, or the symbols of code."""
    text = file.read_text()
    if file.suffix == ".md":
        return {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in HEADING.findall(CODE.sub("", text))
        }
    if file.suffix == ".py":
        return symbols(ast.parse(text).body)
    kind = "script" if file.suffix in SCRIPTS else file.suffix or file.name
    return set(SYMBOLS[kind].findall(text))


def symbols(body: list[ast.stmt], prefix: str = "") -> set[str]:
    """The names that a module or a class defines; those of a class with its name before them."""
    names: set[str] = set()
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(prefix + name)
            case ast.ClassDef(name=name):
                names |= {prefix + name, *symbols(node.body, f"{prefix}{name}.")}
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(prefix + name)
    return names


def missing_tests(text: str, root: Path) -> Iterator[str]:
    for path, name in PROOF.findall(text):
        file = root / path
        if not file.exists() or name not in symbols(ast.parse(file.read_text()).body):
            yield f"{path}::{name}"


def diagrams() -> dict[str, set[tuple[str, str]]]:
    """The edges of each diagram in docs/states.md, under the table that is named above it."""
    found = DIAGRAM.findall((ROOT / "docs/states.md").read_text())
    return {table: set(EDGE.findall(diagram)) for table, diagram in found}


def section(heading: str) -> str:
    """The tables of this section of docs/design.md."""
    text = re.split(r"^## ", DESIGN.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    return "\n".join(line for line in text.splitlines() if line.startswith("|"))


def routes() -> Iterator[str]:
    """The method and path of each route of the services, as their modules declare them."""
    for file in (ROOT / "backend").glob("*/routes.py"):
        for path, methods in ROUTE.findall(file.read_text()):
            for method in re.findall(r"\w+", methods):
                yield f"{method} {path}"
