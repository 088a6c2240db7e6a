"""The one settings object, read from the environment.

A process names what it needs when it loads; everything that is missing or malformed is told at once, by variable
name and never by value.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Pause = Annotated[float, msgspec.Meta(ge=0, le=600)]

STRIPE = "https://api.stripe.com"
NOUNS = ("auth", "tickets", "orders", "payments", "push", "relay")


class SettingsError(Exception):
    """The environment does not describe a runnable process; the message names each variable."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every field is the environment variable of the same name in capitals."""

    database_url: str = ""
    auth_database_url: str = ""
    tickets_database_url: str = ""
    orders_database_url: str = ""
    payments_database_url: str = ""
    push_database_url: str = ""
    relay_database_url: str = ""
    database_pool_size: Count = 10
    redis_url: str = ""

    hold_seconds: Seconds = 60
    payment_grace_seconds: Seconds = 60
    max_tickets_per_order: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    max_open_orders: Count = 5
    max_tickets_per_show: Count = 16
    max_unpaid_holds: Count = 8
    cooldown_seconds: Seconds = 600
    # How long after an order's completion its buyer may have it refunded; 0 is never.
    refund_window_seconds: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] = 0
    fee_percent: Annotated[Decimal, msgspec.Meta()] = Decimal(5)

    jwt_private_key: str = ""
    jwt_public_keys: str = ""
    jwt_issuer: str = "gittix"
    jwt_audience: str = "gittix"
    jwt_access_seconds: Seconds = 300
    jwt_refresh_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30

    stripe_api_key: str = ""
    # Told to every browser, so a secret key here is refused. Without it the shop offers the sandbox's test cards.
    stripe_publishable_key: Annotated[
        str, msgspec.Meta(pattern="^pk_(test|live)_[A-Za-z0-9]+$")
    ] = ""
    stripe_webhook_secrets: str = ""
    stripe_api_base: str = STRIPE
    # Where a buyer's browser reaches the sandbox's own page for 3-D Secure.
    stripe_sandbox_url: Annotated[str, msgspec.Meta(pattern="^https?://[A-Za-z0-9.:-]+$")] = ""

    push_backend: Literal["gateway", "pusher"] = "gateway"
    pusher_app_id: Annotated[str, msgspec.Meta(pattern="^[0-9]+$")] = ""
    pusher_key: str = ""
    pusher_secret: str = ""
    pusher_host: str = ""
    pusher_port: Port = 443
    pusher_tls: bool = True
    pusher_cluster: str = "mt1"

    # Where the shop's built pages are; without it a process serves none.
    frontend_folder: str = ""
    public_origin: str = ""
    allowed_origins: str = ""
    trusted_proxies: str = ""
    rate_limits: Literal["on", "off"] = "on"
    # Where a process that serves nothing else has /healthz, /readyz and /metrics: an address, or the path of a Unix socket.
    ops_host: str = "127.0.0.1"
    ops_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    # Processes that this one speaks for: lines of a name, "=", and a URL or a Unix socket's path.
    ops_peers: str = ""
    # How long a server that was asked to end still answers, so that a proxy in front can let go of it.
    shutdown_delay_seconds: Pause = 0
    # Over how long a gateway that ends sends its clients away.
    drain_seconds: Pause = 2
    # Where an OpenTelemetry collector takes OTLP over HTTP; without it nothing is traced.
    otel_exporter_otlp_endpoint: Annotated[str, msgspec.Meta(pattern="^https?://")] = ""
    otel_service_name: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "json"

    def noun_database_url(self, noun: str) -> str:
        """The noun's own URL, or `DATABASE_URL` with the noun's role as its user."""
        own: str = getattr(self, f"{noun}_database_url")
        return own or (with_role(self.database_url, f"gittix_{noun}") if self.database_url else "")

    @property
    def pusher_address(self) -> str:
        """The host that browsers open their sockets at."""
        return self.pusher_host or f"ws-{self.pusher_cluster}.pusher.com"

    @property
    def origins(self) -> frozenset[str]:
        """Origins that may send a cookie-authenticated write."""
        return frozenset(filter(None, (self.public_origin, *_words(self.allowed_origins))))

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(_words(self.stripe_webhook_secrets))

    @property
    def secure_cookies(self) -> bool:
        return self.public_origin.startswith("https://")


def load(environ: Mapping[str, str], *, needs: Iterable[str] = ()) -> Settings:
    """Read settings, and refuse unless every field in `needs` has a value.

    A need is a field's name, or `database:<noun>` for that noun's database. Raises SettingsError.
    """
    known = {
        name: environ[name.upper()]
        for name in Settings.__struct_fields__
        if environ.get(name.upper(), "").strip()
    }
    faults = []
    values = {}
    for name, text in known.items():
        try:
            values[name] = msgspec.convert(
                text.strip(), Settings.__annotations__[name], strict=False
            )
        except msgspec.ValidationError as fault:
            told = str(fault).replace(f" '{text.strip()}'", "")
            faults.append(f"{name.upper()}: {told}")
    settings = Settings(**values) if not faults else Settings()
    faults += [] if faults else [f"{need} is not set" for need in _missing(settings, needs)]
    if settings.fee_percent.is_nan() or not 0 <= settings.fee_percent <= 50:
        faults.append("FEE_PERCENT must be between 0 and 50")
    if "_live_" in settings.stripe_api_key and settings.stripe_api_base != STRIPE:
        faults.append(f"STRIPE_API_BASE must be {STRIPE} with a live STRIPE_API_KEY")
    if faults:
        raise SettingsError("the environment is incomplete: " + "; ".join(faults))
    return settings


def with_role(url: str, role: str) -> str:
    """The same database URL, for another role with the same password."""
    parts = urlsplit(url)
    _, _, place = parts.netloc.rpartition("@")
    password = f":{parts.password}" if parts.password else ""
    return urlunsplit(parts._replace(netloc=f"{quote(role)}{password}@{place}"))


def _missing(settings: Settings, needs: Iterable[str]) -> Iterable[str]:
    for need in needs:
        _, _, noun = need.partition("database:")
        if noun:
            if not settings.noun_database_url(noun):
                yield f"{noun.upper()}_DATABASE_URL (or DATABASE_URL)"
        elif not getattr(settings, need):
            yield need.upper()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
