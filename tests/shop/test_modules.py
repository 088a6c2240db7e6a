"""Modules of the front end that must agree with Python, run by Node as they are.

The other rules of these modules are tested in frontend/tests.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from backend.kernel import money
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


def test_the_form_offers_the_currencies_that_the_api_takes() -> None:
    offered = evaluate("shared/currencies.ts", "module.CURRENCIES", None)
    assert offered == sorted(money.CURRENCIES)
    decimals = evaluate("shared/currencies.ts", "given.map(module.decimalsOf)", offered)
    assert decimals == [money.exponent(currency) for currency in offered]
