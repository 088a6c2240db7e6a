"""The currencies of tickets: the one table that the API, the database, the browser and the Stripe
sandbox use.

Our amounts are whole minor units with `exponent` decimals, which never changes for a currency,
since stored orders and events have such amounts. Stripe's amounts have `wire_exponent` decimals;
`to_wire` and `from_wire` are the only conversions. The rules are Stripe's for card payments
(docs.stripe.com/currencies):

- "Zero-decimal currencies": the amount is whole units.
- "Special cases": UGX and ISK have no fractions, but Stripe takes both with two decimals, which
  must be 00. HUF and TWD are whole only in payouts.
- "Three-decimal currencies": the last digit must be 0.
- "Minimum charge amounts": where Stripe lists none, Stripe converts the amount and compares it with
  the minimum of the account's own currency. `_EQUIVALENTS` are round amounts somewhat above that
  minimum (0.50 USD, EUR or CHF).
- "Maximum charge amounts": the digits that Stripe takes for each payment method, which for some
  cards are more. 8 digits, but 12 for IDR, 10 for COP, 9 for INR.

`tickets.currencies` in the database and `frontend/assets/src/shared/currency-table.ts` are copies;
tests and `make check` compare them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# The highest FEE_PERCENT that the settings accept.
MAX_FEE_PERCENT = 50


class CurrencyRules(NamedTuple):
    """The rules of one currency, in our minor units.

    An amount that is charged is a multiple of `step` from `minimum` to `maximum`. `digits` is the
    number of decimals that people see.
    """

    code: str
    exponent: int
    wire_exponent: int
    digits: int
    step: int
    minimum: int
    maximum: int

    @property
    def maximum_price(self) -> int:
        """The highest price of a ticket: with the highest fee, Stripe still takes the total."""
        return self.maximum * 100 // (100 + MAX_FEE_PERCENT) // self.step * self.step

    def to_wire(self, amount: int) -> int:
        """Our amount in the units that Stripe takes."""
        return amount * self._units_of_wire

    def from_wire(self, amount: int) -> int:
        """Stripe's amount in our units. Stripe takes no fraction of our unit, so the division has
        no remainder for an amount that Stripe has charged by these rules; otherwise it rounds down.
        """
        return amount // self._units_of_wire

    @property
    def _units_of_wire(self) -> int:
        return int(10 ** (self.wire_exponent - self.exponent))


def _codes(text: str) -> list[str]:
    return text.split()


def _amounts(text: str) -> dict[str, int]:
    words = text.split()
    return {
        code: int(amount.replace("_", ""))
        for code, amount in zip(words[::2], words[1::2], strict=True)
    }


_ZERO_DECIMAL = _codes("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF")
_THREE_DECIMAL = _codes("BHD JOD KWD OMR TND")
_TWO_DECIMAL = _codes(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF
    CHF CNY COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG
    HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR
    MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD
    SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH USD UYU UZS WST XCD YER
    ZAR ZMW
    """
)

# Stripe's list, in minor units.
_MINIMUMS = _amounts(
    """
    AED 200 ARS 50 AUD 50 BRL 50 CAD 50 CHF 50 COP 50 CZK 15_00 DKK 250 EUR 50 GBP 30 HKD 400
    HUF 175_00 IDR 50 ILS 50 INR 50 JPY 50 KRW 50 MXN 10_00 MYR 200 NOK 300 NZD 50 PHP 50 PLN 200
    RON 200 RUB 50 SEK 300 SGD 50 THB 10_00 USD 50 ZAR 50
    """
)
_EQUIVALENTS = _amounts(
    """
    AFN 50_00 ALL 60_00 AMD 300_00 ANG 1_25 AOA 650_00 AWG 1_25 AZN 1_25 BAM 1_25 BBD 1_50 BDT 80_00
    BMD 75 BND 1_00 BOB 5_00 BSD 75 BWP 10_00 BYN 2_50 BZD 1_50 CDF 2000_00 CNY 5_00 CRC 350_00
    CVE 70_00 DOP 45_00 DZD 100_00 EGP 40_00 ETB 120_00 FJD 1_50 FKP 50 GEL 2_00 GIP 50 GMD 50_00
    GTQ 5_00 GYD 150_00 HNL 20_00 HTG 90_00 ISK 100_00 JMD 110_00 KES 90_00 KGS 60_00 KHR 3000_00
    KYD 60 KZT 400_00 LAK 15000_00 LBP 60000_00 LKR 200_00 LRD 150_00 LSL 15_00 MAD 7_00 MDL 12_00
    MKD 40_00 MMK 1500_00 MNT 2500_00 MOP 6_00 MUR 35_00 MVR 11_00 MWK 1200_00 MZN 45_00 NAD 15_00
    NGN 1200_00 NIO 25_00 NPR 100_00 PAB 75 PEN 2_50 PGK 3_00 PKR 200_00 QAR 2_50 RSD 75_00 SAR 2_50
    SBD 6_00 SCR 10_00 SHP 50 SLE 16_00 SOS 400_00 SRD 30_00 STD 15000_00 SZL 15_00 TJS 7_00
    TOP 1_75 TRY 35_00 TTD 5_00 TWD 20_00 TZS 2000_00 UAH 30_00 UYU 30_00 UZS 9000_00 WST 2_00
    XCD 2_00 YER 300_00 ZMW 18_00
    BIF 2000 CLP 700 DJF 120 GNF 6000 KMF 300 MGA 3000 PYG 5000 RWF 1000 UGX 2500 VND 18000 VUV 80
    XAF 400 XOF 400 XPF 75
    BHD 250 JOD 500 KWD 200 OMR 250 TND 2_000
    """
)
_WIRE_DIGITS = {"IDR": 12, "COP": 10, "INR": 9}


def _rules(code: str, exponent: int) -> CurrencyRules:
    wire_exponent = 2 if code == "UGX" else exponent
    step = 100 if code == "ISK" else 10 if exponent == 3 else 1
    most = (10 ** _WIRE_DIGITS.get(code, 8) - 1) // 10 ** (wire_exponent - exponent)
    return CurrencyRules(
        code=code,
        exponent=exponent,
        wire_exponent=wire_exponent,
        digits=0 if code == "ISK" else exponent,
        step=step,
        minimum=_MINIMUMS[code] if code in _MINIMUMS else _EQUIVALENTS[code],
        maximum=most // step * step,
    )


CURRENCIES: Mapping[str, CurrencyRules] = MappingProxyType(
    {
        code: _rules(code, exponent)
        for exponent, codes in ((0, _ZERO_DECIMAL), (2, _TWO_DECIMAL), (3, _THREE_DECIMAL))
        for code in codes
    }
)
