"""Currencies and the amounts that may be charged in them (docs.stripe.com/currencies). Amounts are
minor units.
"""

from backend.stripe_sandbox.errors import InvalidParams


def _words(text: str) -> list[str]:
    return text.split()


ZERO_DECIMAL = frozenset(_words("bif clp djf gnf jpy kmf krw mga pyg rwf ugx vnd vuv xaf xof xpf"))
_SUPPORTED = frozenset(
    _words(
        """usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd
        bwp byn bzd cad cdf chf clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel
        gip gmd gnf gtq gyd hkd hnl htg huf idr ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd
        kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok
        npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp sle sos
        srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer
        zar zmw
        """
    )
)
_LEAST = {
    "aed": 200, "bgn": 100, "czk": 1500, "dkk": 250, "gbp": 30, "hkd": 400, "huf": 17500,
    "jpy": 50, "mxn": 1000,
    "myr": 200, "nok": 300, "pln": 200, "ron": 200, "sek": 300, "thb": 1000,
} | dict.fromkeys(_words("usd aud brl cad chf eur inr nzd sgd"), 50)  # fmt: skip
_MOST = 99_999_999


def currency_of(given: str) -> str:
    currency = given.lower()
    if currency not in _SUPPORTED:
        supported = ", ".join(sorted(_SUPPORTED))
        raise InvalidParams(
            f"Invalid currency: {given[:20]}. Stripe currently supports these currencies: "
            f"{supported}",
            param="currency",
        )
    return currency


def check_amount(amount: int, currency: str) -> None:
    least = _LEAST.get(currency, 1)
    if amount < least:
        raise InvalidParams(
            f"Amount must be at least {shown(least, currency)}",
            code="amount_too_small",
            param="amount",
        )
    if amount > _MOST:
        raise InvalidParams(
            f"Amount must be no more than {shown(_MOST, currency)}",
            code="amount_too_large",
            param="amount",
        )


def shown(amount: int, currency: str) -> str:
    """An amount for people: 1999 in usd is "19.99 usd", 500 in jpy is "500 jpy"."""
    if currency in ZERO_DECIMAL:
        return f"{amount} {currency}"
    return f"{amount // 100}.{amount % 100:02d} {currency}"
