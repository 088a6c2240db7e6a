"""The rules for prices and currencies of tickets, in the words of an error. The database has them
too (`tickets.check_price`).
"""

from backend.currencies import CURRENCIES, CurrencyRules
from backend.kernel import money
from backend.kernel.problems import FieldError, invalid, invalid_field


def check_amounts(price: int, face_value: int | None, currency: str, path: str = "") -> None:
    """Both keep the rules of the currency; a face value may be low, since it is not charged."""
    minimum = CURRENCIES[currency].minimum
    if price < minimum:
        message = f"must be at least {money.show(minimum, currency)}"
        raise invalid_field(FieldError(f"{path}price", message, minimum=minimum))
    _check_bounds(f"{path}price", price, CURRENCIES[currency])
    if face_value is not None:
        _check_bounds(f"{path}face_value", face_value, CURRENCIES[currency])


def _check_bounds(field: str, amount: int, rules: CurrencyRules) -> None:
    most, step = rules.maximum_price, rules.step
    if amount > most:
        message = f"must be at most {money.show(most, rules.code)}"
        raise invalid_field(FieldError(field, message, maximum=most))
    if amount % step:
        below = amount // step * step
        message = (
            f"must be a multiple of {money.show(step, rules.code)}, such as "
            f"{money.show(below + step, rules.code)}"
        )
        raise invalid_field(FieldError(field, message, step=step))


def known_currency(code: str, path: str = "") -> str:
    if code.upper() not in CURRENCIES:
        raise invalid(
            f"{path}currency", f"must be a currency that can be charged: {code.upper()} is not"
        )
    return code.upper()
