"""The amounts that Stripe takes (docs.stripe.com/currencies), in Stripe's units.

The texts are Stripe's; the rules are of the table that payments uses as well.
"""

from backend.currencies import CURRENCIES, CurrencyRules
from backend.stripe_sandbox.errors import InvalidParams


def currency_of(given: str) -> str:
    currency = given.lower()
    if currency.upper() not in CURRENCIES:
        supported = ", ".join(sorted(code.lower() for code in CURRENCIES))
        raise InvalidParams(
            f"Invalid currency: {given[:20]}. Stripe currently supports these currencies: "
            f"{supported}",
            param="currency",
        )
    return currency


def check_amount(amount: int, currency: str) -> None:
    """Refuse an amount that Stripe does not charge."""
    rules = _rules(currency)
    least, most = rules.to_wire(rules.minimum), rules.to_wire(rules.maximum)
    if amount < least:
        raise InvalidParams(
            f"Amount must be at least {shown(least, currency)}",
            code="amount_too_small",
            param="amount",
        )
    if amount > most:
        raise InvalidParams(
            f"Amount must be no more than {shown(most, currency)}",
            code="amount_too_large",
            param="amount",
        )
    check_step(amount, currency, "amount")


def check_step(amount: int | None, currency: str, param: str) -> None:
    """Refuse an amount with a fraction that the currency does not have: of a charge, a capture or
    a refund.
    """
    rules = _rules(currency)
    step = rules.to_wire(rules.step)
    if amount is None or amount % step == 0:
        return
    message = (
        f"Amounts in {rules.code} must have 0 as their last digit."
        if rules.exponent == 3
        else f"Currency {rules.code} has become effectively zero-decimal and charged amounts must "
        f"be evenly divisible by {step}."
    )
    raise InvalidParams(
        f"Invalid amount. {message} See https://stripe.com/docs/currencies#zero-decimal for more "
        "information.",
        code="parameter_invalid_integer",
        param=param,
    )


def shown(amount: int, currency: str) -> str:
    """An amount for people: 1999 in usd is "19.99 usd", 500 in jpy is "500 jpy"."""
    decimals = _rules(currency).wire_exponent
    if decimals == 0:
        return f"{amount} {currency}"
    whole, fraction = divmod(amount, 10**decimals)
    return f"{whole}.{fraction:0{decimals}d} {currency}"


def _rules(currency: str) -> CurrencyRules:
    return CURRENCIES[currency.upper()]
