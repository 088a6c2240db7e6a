"""The numbers of orders, as people type them. `functions/orders/numbers.sql` makes them."""

import re
from uuid import UUID

from backend.orders.errors import OrderNotFound

# A typed dash or space is no part of a number, and Crockford base32 reads O as 0, and I and L as 1.
_SEPARATORS = str.maketrans("", "", "- ")
_CONFUSED = str.maketrans("OIL", "011")
_TYPED = re.compile(r"(?:GT)?([0-9A-TV-Z]{8})", re.ASCII)


def read_key(text: str) -> UUID | str:
    """The id or the number of an order that a client sent. Raises OrderNotFound for other text."""
    typed = _TYPED.fullmatch(text.translate(_SEPARATORS).upper())
    if typed:
        return f"GT-{typed[1].translate(_CONFUSED)}"
    try:
        return UUID(text)
    except ValueError as error:
        raise OrderNotFound from error
