"""`python -m frontend.currency_table` prints `assets/src/shared/currency-table.ts`."""

import sys

from backend.currencies import CURRENCIES

HEADER = """\
// Generated from backend/currencies.py by `make currency-table`; `make check` compares them.

/** In our minor units, but for the numbers of decimals. */
type Row = readonly [
  exponent: number,
  wireExponent: number,
  digits: number,
  step: number,
  minimum: number,
  maximumPrice: number,
  maximum: number,
];

export const CURRENCY_TABLE: Readonly<Record<string, Row>> = {"""


def table() -> str:
    rows = [
        f"  {rules.code}: [{rules.exponent}, {rules.wire_exponent}, {rules.digits}, {rules.step},"
        f" {rules.minimum}, {rules.maximum_price}, {rules.maximum}],"
        for rules in sorted(CURRENCIES.values())
    ]
    return "\n".join([HEADER, *rows, "};"])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
