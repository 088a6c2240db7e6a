"""How the shop reads what people type, and writes what spreadsheets read: its modules, run by Node as they are."""

import csv
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

from backend.kernel import money
from tests.node import node

LIVE = Path(__file__).parents[2] / "frontend" / "assets" / "live"
SECONDS = 30


def run(module: str, expression: str, cases: list[Any]) -> list[Any]:
    """What `expression` says of each `given`; what it throws is `{"refused": its words}`."""
    script = f"""
      import * as it from {json.dumps(str(LIVE / module))};
      const answers = {json.dumps(cases)}.map((given) => {{
        try {{ return {expression} ?? null; }} catch (fault) {{ return {{ refused: fault.message }}; }}
      }});
      console.log(JSON.stringify(answers));
    """
    done = subprocess.run(
        [node(), "--no-warnings", "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


def test_money_is_read_in_major_units_and_sent_in_minor_ones() -> None:
    cases: list[tuple[str, str, int | None]] = [
        ("45", "EUR", 4500),
        ("45.5", "EUR", 4550),
        ("45,50", "EUR", 4550),
        ("€ 45.50", "EUR", 4550),
        ("1,234.50", "USD", 123450),
        ("1.234,50", "EUR", 123450),
        ("1 234,50", "EUR", 123450),
        ("1,234", "EUR", 123400),
        ("1.234.567", "EUR", 123456700),
        ("0.29", "EUR", 29),
        ("1200", "JPY", 1200),
        ("¥1,200", "JPY", 1200),
        ("1.234", "KWD", 1234),
        ("1", "KWD", 1000),
        ("0", "EUR", 0),
        ("", "EUR", None),
        ("free", "EUR", None),
        ("-5", "EUR", None),
        ("4.555", "JPY", 4555),
        ("45.5", "JPY", None),
        ("45.5555", "EUR", None),
        ("1.23.45", "EUR", None),
        ("1e3", "EUR", None),
        ("9" * 30, "EUR", None),
    ]
    found = run(
        "amounts.js", "it.minorUnits(...given)", [[text, currency] for text, currency, _ in cases]
    )
    assert dict(zip([case[:2] for case in cases], found, strict=True)) == {
        (text, currency): amount for text, currency, amount in cases
    }


def test_an_amount_is_written_as_it_would_be_typed() -> None:
    cases = [[4550, "EUR"], [5, "EUR"], [1200, "JPY"], [1234, "KWD"]]
    assert run("amounts.js", "it.majorUnits(...given)", cases) == ["45.50", "0.05", "1200", "1.234"]


def test_the_currencies_to_choose_from_are_those_that_can_be_charged() -> None:
    [offered] = run("amounts.js", "it.CURRENCIES", [None])
    assert offered == sorted(money.CURRENCIES)
    digits = run("format.js", "it.digitsOf(given)", offered)
    assert digits == [money.exponent(currency) for currency in offered]


def test_rows_and_seats_are_read_from_few_words() -> None:
    cases: dict[str, Any] = {
        "A\u2013C": ["A", "B", "C"],
        "a-c": ["a", "b", "c"],
        "A, C, F": ["A", "C", "F"],
        "A-B, AA": ["A", "B", "AA"],
        "1-3, 7": ["1", "2", "3", "7"],
        "08-10": ["08", "09", "10"],
        "5": ["5"],
        "B-12": ["B-12"],
        " , ": [],
        "F-A": {"refused": "F-A runs backwards"},
        "1-3, 2": {"refused": "2 is named twice"},
        "1-99999": {"refused": "2000 at most"},
        "x" * 41: {"refused": "40 characters at most"},
    }
    assert (
        dict(zip(cases, run("seats.js", "it.labelsOf(given)", list(cases)), strict=True)) == cases
    )


def test_a_shows_time_is_that_of_the_clocks_on_its_walls() -> None:
    cases: list[tuple[str, str, str | None]] = [
        ("2030-12-04T20:00", "Europe/Amsterdam", "2030-12-04T19:00:00.000Z"),
        ("2030-07-04T20:00", "Europe/Amsterdam", "2030-07-04T18:00:00.000Z"),
        ("2030-12-04T20:00", "Asia/Tokyo", "2030-12-04T11:00:00.000Z"),
        ("2030-12-04T20:00", "Asia/Kolkata", "2030-12-04T14:30:00.000Z"),
        ("2030-12-04T20:00", "Pacific/Kiritimati", "2030-12-04T06:00:00.000Z"),
        # Clocks go from 2:00 to 3:00, and back from 3:00 to 2:00.
        ("2030-03-31T02:30", "Europe/Amsterdam", None),
        ("2030-10-27T02:30", "Europe/Amsterdam", "2030-10-27T00:30:00.000Z"),
        ("", "Europe/Amsterdam", None),
    ]
    given = [[wall, zone] for wall, zone, _ in cases]
    found = run("zones.js", "it.instantOf(...given)", given)
    assert found == [instant for _, _, instant in cases]
    again = [[instant, zone] for (_, zone, _), instant in zip(cases, found, strict=True) if instant]
    assert run("zones.js", "it.wallTime(...given)", again) == [
        wall for wall, _, instant in cases if instant
    ]


def test_a_table_comes_back_as_it_was_and_no_cell_of_it_is_a_formula() -> None:
    plain = ["Harbour Lights", 'He said "no"', "a,b", "two\nlines", " spaced ", "", "45.00", "Zoë"]
    formulas = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", ' =HYPERLINK("http://x.example")', "%0A"]
    [text] = run("csv.js", "it.csv(given)", [[plain, formulas]])
    assert text.startswith("\ufeff")
    assert re.search(r"\r\n$", text)
    read = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))
    assert read == [plain, [f"'{formula}" for formula in formulas]]
