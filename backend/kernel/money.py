"""Money: integer minor units with an ISO 4217 currency, never floats.

The currencies are the presentment currencies of Stripe. A zero-decimal currency has no minor
unit: 500 JPY is charged as 500.
"""

from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

import msgspec


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


ZERO_DECIMAL = _codes("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF")
THREE_DECIMAL = _codes("BHD JOD KWD OMR TND")
TWO_DECIMAL = _codes(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF
    CHF CNY COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG
    HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR
    MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD
    SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER
    ZAR ZMW
    """
)
CURRENCIES = ZERO_DECIMAL | THREE_DECIMAL | TWO_DECIMAL

# Stripe charges at most eight digits of minor units.
MAX_AMOUNT = 99_999_999

# The lowest price of a ticket: the least that Stripe charges in the currency
# (docs.stripe.com/currencies#minimum-and-maximum-charge-amounts). In a currency that is not listed
# there, Stripe converts the amount and compares it with the minimum of the account's currency; half
# a unit keeps out tickets of a cent. `tickets.currencies` has the same values.
_STRIPE_MINIMUMS = {
    "AED": 200, "CZK": 1500, "DKK": 250, "GBP": 30, "HKD": 400, "HUF": 17500, "MXN": 1000,
    "MYR": 200, "NOK": 300, "PLN": 200, "RON": 200, "SEK": 300, "THB": 1000,
}  # fmt: skip
MINIMUM_PRICES = {
    code: _STRIPE_MINIMUMS.get(code, 500 if code in THREE_DECIMAL else 50) for code in CURRENCIES
}

Price = Annotated[int, msgspec.Meta(ge=1, le=MAX_AMOUNT, description="Minor units of the currency")]
Currency = Annotated[
    str, msgspec.Meta(pattern="^[A-Za-z]{3}$", description="ISO 4217 code", examples=["EUR"])
]


def exponent(currency: str) -> int:
    """The number of decimals of the currency's minor unit."""
    return 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2


def show(amount: int, currency: str) -> str:
    """For logs and terminals: `show(4500, "EUR")` is `45.00 EUR`."""
    digits = exponent(currency)
    unit = Decimal(1).scaleb(-digits)
    return f"{(amount * unit).quantize(unit, ROUND_HALF_UP)} {currency}"
