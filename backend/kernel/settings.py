"""The settings of a process, read once from environment variables.

`load` takes the fields that the process requires, and raises one error that lists every missing
or malformed variable by name, never by value.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from backend.currencies import MAX_FEE_PERCENT
from backend.kernel import trusted_proxies
from backend.kernel.redis_url import redis_database
from backend.kernel.value_descriptions import describe

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
Pause = Annotated[float, msgspec.Meta(ge=0, le=600)]

STRIPE = "https://api.stripe.com"
ORIGIN = re.compile(r"https?://[a-z0-9.\[\]:-]+")
WEB_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:/[!-+\--~]*)?")
# The database roles, without their prefix `gittix_`.
ROLES = ("auth", "tickets", "orders", "payments", "push", "relay", "check")


class SettingsError(Exception):
    """The environment variables are incomplete or malformed; the message lists each of them."""


class PushApp(NamedTuple):
    """A Pusher app beside the shop's; `database` is the number of its database in the Redis of the
    push log.
    """

    id: str
    key: str
    secret: str
    database: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Each field is read from the environment variable of the same name in capitals."""

    database_url: str = ""
    auth_database_url: str = ""
    tickets_database_url: str = ""
    orders_database_url: str = ""
    payments_database_url: str = ""
    push_database_url: str = ""
    relay_database_url: str = ""
    check_database_url: str = ""
    database_pool_size: Count = 10
    # Pass a released connection directly to the next waiting task (decision 26).
    database_pool_handoff: Literal["on", "off"] = "on"
    redis_url: str = ""
    # The Redis of the push log; without it, that of everything else.
    push_redis_url: str = ""

    hold_seconds: Seconds = 60
    payment_grace_seconds: Seconds = 60
    max_tickets_per_order: Annotated[int, msgspec.Meta(ge=1, le=100)] = 8
    max_open_orders: Count = 5
    max_tickets_per_show: Count = 16
    # Tickets that a user may list in a show of another user.
    max_listed_per_show: Count = 20
    # Hourly budgets of unpaid ticket-seconds: of an account, and of an IPv4 address or the /64 of
    # an IPv6 address.
    unpaid_ticket_seconds: Amount = 3_600
    unpaid_ticket_seconds_of_address: Amount = 7_200
    # How long a ticket that a buyer gave up is kept from that buyer.
    rehold_seconds: Annotated[int, msgspec.Meta(ge=0, le=3_600)] = 60
    # Attempts to pay one order.
    max_payment_attempts: Count = 5
    # Hourly budgets of attempts to pay that no bank authorised.
    max_declines: Count = 10
    max_declines_of_address: Count = 30
    # A buyer may refund an order for this long after its completion; 0 disables refunds.
    refund_window_seconds: Annotated[int, msgspec.Meta(ge=0, le=31_536_000)] = 0
    fee_percent: Annotated[Decimal, msgspec.Meta()] = Decimal(5)

    jwt_private_key: str = ""
    jwt_public_keys: str = ""
    jwt_issuer: str = "gittix"
    jwt_audience: str = "gittix"
    jwt_access_seconds: Seconds = 300
    jwt_refresh_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 30

    stripe_api_key: str = ""
    # Sent to every browser, so a secret key is refused. Without it the shop offers the sandbox's
    # test cards.
    stripe_publishable_key: Annotated[
        str, msgspec.Meta(pattern="^pk_(test|live)_[A-Za-z0-9]+$")
    ] = ""
    stripe_webhook_secrets: str = ""
    stripe_api_base: str = STRIPE
    # The URL of the sandbox's 3-D Secure page for a buyer's browser.
    stripe_sandbox_url: Annotated[str, msgspec.Meta(pattern="^https?://[A-Za-z0-9.:-]+$")] = ""

    push_backend: Literal["gateway", "pusher"] = "gateway"
    # Whether browsers may send events to each other. GitTix itself sends none.
    push_client_events: Literal["on", "off"] = "off"
    # Whether subscribers get the number of subscriptions of their channel.
    push_subscription_count: Literal["on", "off"] = "off"
    # How long a cache channel keeps its last event.
    push_cache_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 1_800
    # How long the members and subscriptions of a killed gateway count.
    push_lease_seconds: Annotated[int, msgspec.Meta(ge=5, le=300)] = 10
    # Whether connections may watch users: Pusher's watchlists.
    push_watchlists: Literal["on", "off"] = "off"
    # The origins, by commas, whose pages may open sockets; without them, the shop's; *: any.
    push_origins: str = ""
    # Other Pusher apps of the gateway, as id:key:secret:database, by commas.
    push_apps: str = ""
    # The URLs, by commas, to which the gateway posts the webhooks of Pusher's protocol.
    push_webhooks: str = ""
    pusher_app_id: Annotated[str, msgspec.Meta(pattern="^[0-9]+$")] = ""
    pusher_key: str = ""
    pusher_secret: str = ""
    pusher_host: str = ""
    pusher_port: Port = 443
    pusher_tls: bool = True
    pusher_cluster: str = "mt1"

    # Of one address to the gateway: sockets that proved no user, and HTTP connections.
    max_connections_per_address: Count = 500

    # The folder of the shop's built pages; without it the process serves no pages.
    frontend_folder: str = ""
    public_origin: str = ""
    allowed_origins: str = ""
    trusted_proxies: str = ""
    rate_limits: Literal["on", "off"] = "on"
    # The address, or the path of a Unix socket, for /healthz, /readyz and /metrics of a process
    # without an API.
    ops_host: str = "127.0.0.1"
    ops_port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    # Processes whose readiness and metrics this one returns: lines of name=URL or name=path of a
    # Unix socket.
    ops_peers: str = ""
    # How long a server keeps serving after SIGTERM, so that a proxy stops sending requests to it.
    shutdown_delay_seconds: Pause = 0
    # Drop new connection attempts just before a server stops listening (decision 25).
    shutdown_syn_filter: Literal["on", "off"] = "on"
    # The time over which a draining gateway closes its connections.
    drain_seconds: Pause = 2
    # The URL of an OpenTelemetry collector (OTLP over HTTP); without it, tracing is off.
    otel_exporter_otlp_endpoint: Annotated[str, msgspec.Meta(pattern="^https?://")] = ""
    otel_service_name: str = ""
    # Tune the garbage collector for rushes (decision 27).
    gc_tuning: Literal["on", "off"] = "on"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "json"

    def role_database_url(self, role: str) -> str:
        """The role's own database URL, else `DATABASE_URL` with this role; empty without both."""
        own: str = getattr(self, f"{role}_database_url")
        return own or (with_role(self.database_url, f"gittix_{role}") if self.database_url else "")

    @property
    def push_log_url(self) -> str:
        """The URL of the push log's Redis: `PUSH_REDIS_URL`, else `REDIS_URL`."""
        return self.push_redis_url or self.redis_url

    @property
    def pusher_address(self) -> str:
        """The host to which browsers open their WebSockets."""
        return self.pusher_host or f"ws-{self.pusher_cluster}.pusher.com"

    @property
    def origins(self) -> frozenset[str]:
        """The origins whose pages may send cookie-authenticated writes."""
        return frozenset(filter(None, (self.public_origin, *_words(self.allowed_origins))))

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(_words(self.stripe_webhook_secrets))

    @property
    def push_socket_origins(self) -> frozenset[str] | None:
        """The origins whose pages may open sockets, or None for any."""
        own = _words(self.push_origins)
        return None if own == ["*"] else frozenset(own) or self.origins

    @property
    def other_push_apps(self) -> tuple[PushApp, ...]:
        """Raises ValueError for a malformed setting."""
        apps = []
        for word in _words(self.push_apps):
            app_id, key, secret, database = word.split(":")
            if not (app_id.isdecimal() and key and secret):
                raise ValueError("an app needs an id, a key and a secret")
            apps.append(PushApp(app_id, key, secret, int(database)))
        return tuple(apps)

    @property
    def push_webhook_urls(self) -> tuple[str, ...]:
        return tuple(_words(self.push_webhooks))

    @property
    def secure_cookies(self) -> bool:
        return self.public_origin.startswith("https://")


def load(environ: Mapping[str, str], *, needs: Iterable[str] = ()) -> Settings:
    """Read the settings. Raises SettingsError for a malformed value, and for a field of `needs`
    without a value.

    A need is the name of a field, or `database:<role>` for the database URL of a role. A URL with a
    default, another URL, is missing only if both have no value.
    """
    known = {
        name: environ[name.upper()]
        for name in Settings.__struct_fields__
        if environ.get(name.upper(), "").strip()
    }
    errors = []
    values = {}
    for name, text in known.items():
        try:
            values[name] = msgspec.convert(
                text.strip(), Settings.__annotations__[name], strict=False
            )
        except msgspec.ValidationError:
            accepted = msgspec.inspect.type_info(Settings.__annotations__[name])
            errors.append(f"{name.upper()} must be {describe(accepted)}")
    settings = Settings(**values) if not errors else Settings()
    errors += [] if errors else [f"{need} is not set" for need in _missing(settings, needs)]
    if settings.fee_percent.is_nan() or not 0 <= settings.fee_percent <= MAX_FEE_PERCENT:
        errors.append(f"FEE_PERCENT must be between 0 and {MAX_FEE_PERCENT}")
    try:
        trusted_proxies.parse(settings.trusted_proxies)
    except ValueError:
        errors.append("TRUSTED_PROXIES must be IP addresses, CIDR blocks and host names, by commas")
    if settings.push_origins.strip() != "*" and not all(
        map(ORIGIN.fullmatch, _words(settings.push_origins))
    ):
        errors.append("PUSH_ORIGINS must be * or origins like https://example.com, by commas")
    if not _has_distinct_apps(settings):
        errors.append(
            "PUSH_APPS must be id:key:secret:database, by commas, with an id, a key and a database "
            "that no other app has"
        )
    if not all(map(WEB_ADDRESS.fullmatch, settings.push_webhook_urls)):
        errors.append("PUSH_WEBHOOKS must be http or https addresses, by commas")
    longest = settings.max_tickets_per_order * settings.hold_seconds
    for name in ("unpaid_ticket_seconds", "unpaid_ticket_seconds_of_address"):
        if settings.rate_limits == "on" and getattr(settings, name) < longest:
            errors.append(
                f"{name.upper()} must be at least MAX_TICKETS_PER_ORDER times HOLD_SECONDS"
            )
    if "_live_" in settings.stripe_api_key and settings.stripe_api_base != STRIPE:
        errors.append(f"STRIPE_API_BASE must be {STRIPE} with a live STRIPE_API_KEY")
    if errors:
        raise SettingsError("check the environment variables: " + "; ".join(errors))
    return settings


def with_role(url: str, role: str) -> str:
    """The database URL with another user and the same password."""
    parts = urlsplit(url)
    _, _, host = parts.netloc.rpartition("@")
    password = f":{parts.password}" if parts.password else ""
    return urlunsplit(parts._replace(netloc=f"{quote(role)}{password}@{host}"))


def _missing(settings: Settings, needs: Iterable[str]) -> Iterable[str]:
    for need in needs:
        _, _, role = need.partition("database:")
        if role:
            if not settings.role_database_url(role):
                yield f"{role.upper()}_DATABASE_URL (or DATABASE_URL)"
        elif need == "push_redis_url":
            if not settings.push_log_url:
                yield "PUSH_REDIS_URL (or REDIS_URL)"
        elif not getattr(settings, need):
            yield need.upper()


def _has_distinct_apps(settings: Settings) -> bool:
    if not settings.push_apps:
        return True
    try:
        apps = settings.other_push_apps
        database = redis_database(settings.push_log_url)
    except ValueError:
        return False
    own = (settings.pusher_app_id, settings.pusher_key, database)
    columns = zip(own, *((app.id, app.key, app.database) for app in apps), strict=True)
    return all(len(set(column)) == 1 + len(apps) for column in columns)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
