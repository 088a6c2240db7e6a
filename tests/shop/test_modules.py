"""Modules of the front end that must agree with Python, run by Node as they are.

The other rules of these modules are tested in frontend/tests.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from backend.currencies import CURRENCIES
from frontend import currency_table
from tests.node import node

SOURCES = Path(__file__).parents[2] / "frontend" / "assets" / "src"
SECONDS = 30


def evaluate(module: str, expression: str, given: Any) -> Any:
    """The value of a JavaScript expression of `module` and `given`. Node leaves out the types."""
    script = f"""
      import * as module from {json.dumps(str(SOURCES / module))};
      const given = {json.dumps(given)};
      console.log(JSON.stringify({expression}));
    """
    done = subprocess.run(
        [node(), "--no-warnings", "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_browser_has_the_table_of_currencies() -> None:
    path = SOURCES / "shared" / "currency-table.ts"
    assert path.read_text() == currency_table.table() + "\n"
    rows = evaluate("shared/currency-table.ts", "module.CURRENCY_TABLE", None)
    assert rows == {
        code: [*rules[1:6], rules.maximum_price, rules.maximum]
        for code, rules in CURRENCIES.items()
    }
