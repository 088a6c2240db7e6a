"""Money: integer minor units with an ISO 4217 currency, never floats.

`backend/currencies.py` has the currencies and their rules.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

import msgspec

from backend.currencies import CURRENCIES

# No currency has a higher amount.
MAX_AMOUNT = max(rules.maximum for rules in CURRENCIES.values())

Price = Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT, description="Minor units of the currency")]
Currency = Annotated[
    str, msgspec.Meta(pattern="^[A-Za-z]{3}$", description="ISO 4217 code", examples=["EUR"])
]


def show(amount: int, currency: str) -> str:
    """For messages, logs and terminals: `show(4500, "EUR")` is `45.00 EUR`."""
    rules = CURRENCIES.get(currency)
    exponent, digits = (rules.exponent, rules.digits) if rules else (2, 2)
    # An amount with more decimals than people should see has all of them.
    if amount % 10 ** (exponent - digits):
        digits = exponent
    unit = Decimal(1).scaleb(-digits)
    return f"{Decimal(amount).scaleb(-exponent).quantize(unit, ROUND_HALF_UP)} {currency}"
