"""Builds the applications that `gittix serve` runs: each service for its own process, or all of
them for one.

Building an application raises SettingsError when the environment lacks a setting of it. `shop`
serves the built pages and the OpenAPI document of all services.
"""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from backend import static_site
from backend.auth import app as auth
from backend.auth import routes as auth_routes
from backend.kernel import garbage_collection, health, trusted_proxies, web
from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.http_protocol import Bounds
from backend.kernel.peer_processes import parse_peers
from backend.kernel.principal import TokenVerifier, load_public_keys
from backend.kernel.rate_limit import WriteLimit
from backend.kernel.server import Server, server_config, shared_port
from backend.kernel.settings import Settings, SettingsError, load
from backend.orders import app as orders
from backend.orders import routes as order_routes
from backend.payments import app as payments
from backend.payments import routes as payment_routes
from backend.push import routes as push_routes
from backend.push.app import build_gateway
from backend.push.client import pusher_client
from backend.push.server import GatewayServer, uvicorn_config
from backend.push.settings import GatewaySettings, connection_limits
from backend.tickets import app as tickets
from backend.tickets import routes as ticket_routes

SERVICES = ("auth", "tickets", "orders", "payments", "push")
# The routes of the OpenAPI document, in its order.
ROUTES = (
    *auth_routes.ROUTES,
    *ticket_routes.routes,
    *order_routes.routes,
    *payment_routes.routes,
    *push_routes.routes,
)
NEEDS: Mapping[str, tuple[str, ...]] = {
    "auth": auth.NEEDS,
    "tickets": tickets.NEEDS,
    "orders": orders.NEEDS,
    "payments": payments.NEEDS,
    "push": (*push_routes.NEEDS, "push_redis_url", "database:push"),
    "shop": ("frontend_folder", "pusher_key", "pusher_host"),
}
STOP_SECONDS = 10
WRITES_PER_MINUTE = 600


def settings_for(name: str, environ: Mapping[str, str]) -> Settings:
    """Settings of one service; `api` needs those of all services. Raises SettingsError."""
    services = SERVICES if name == "api" else (name,)
    needs = dict.fromkeys(need for service in services for need in NEEDS[service])
    if environ.get("PUSH_BACKEND") == "pusher":
        # The host of hosted Pusher is derived from PUSHER_CLUSTER.
        needs.pop("pusher_host", None)
    return load(environ, needs=needs)


def build(name: str, settings: Settings) -> Starlette:
    """The application of one service; `api` is all services without the gateway. Raises
    SettingsError.
    """
    if name == "push":
        return _push(settings)
    if name == "shop":
        return _shop(settings)
    makers: dict[str, Callable[[], web.Component]] = {
        # Starlette matches routes in order. Orders are first: a rush is mostly orders, and each
        # takes 8 µs less.
        "orders": lambda: orders.component(settings),
        "tickets": lambda: tickets.component(settings),
        "auth": lambda: auth.component(settings, close_sockets=_socket_closer(settings)),
        "payments": lambda: payments.component(settings),
    }
    if name == "api":
        makers["push"] = lambda: push_routes.component(settings)
        return _web(
            [make() for make in makers.values()],
            settings,
            _verifier(settings, "auth"),
            _pages(settings),
            described=ROUTES,
        )
    to_docs = Route("/", _to_docs, include_in_schema=False)
    return _web([makers[name]()], settings, _verifier(settings, name), [to_docs])


async def serve(
    name: str, settings: Settings, *, host: str, port: int, share_port: bool = False
) -> None:
    """Serve until the first signal; requests in progress are finished. With `share_port`, other
    processes may serve at the same port.
    """
    app = build(name, settings)
    garbage_collection.tune(settings)
    server, config = (
        (GatewayServer, uvicorn_config(app, host, port))
        if name == "push"
        else (Server, http_config(app, host, port))
    )
    async with health.served(settings) as readiness:
        await server(
            config,
            delay_seconds=settings.shutdown_delay_seconds,
            filter_syn=settings.shutdown_syn_filter == "on",
            while_serving=readiness.checking,
        ).serve([shared_port(host, port)] if share_port else None)


def http_config(app: Any, host: str, port: int, bounds: Bounds | None = None) -> uvicorn.Config:
    """The uvicorn configuration of an application without WebSockets."""
    return server_config(
        app, host=host, port=port, ws="none", stop_seconds=STOP_SECONDS, bounds=bounds
    )


def _web(
    components: list[web.Component],
    settings: Settings,
    verifier: TokenVerifier,
    pages: Sequence[BaseRoute] = (),
    described: Sequence[BaseRoute] = (),
) -> Starlette:
    return web.build(
        components,
        verifier=verifier,
        origins=settings.origins,
        secure=settings.secure_cookies,
        limits=_limits(settings),
        routes=pages,
        described=described,
        peers=parse_peers("api", settings.ops_peers),
    )


def _shop(settings: Settings) -> Starlette:
    return web.build(
        [],
        verifier=None,
        secure=settings.secure_cookies,
        routes=static_site.routes(Path(settings.frontend_folder), settings),
        described=ROUTES,
    )


def _pages(settings: Settings) -> list[BaseRoute]:
    """The pages of the shop when FRONTEND_FOLDER is set, else a redirect to the API's
    documentation.
    """
    if settings.frontend_folder:
        return static_site.routes(Path(settings.frontend_folder), settings)
    return [Route("/", _to_docs, include_in_schema=False)]


async def _to_docs(_request: Request) -> Response:
    return RedirectResponse("/api/docs")


def _limits(settings: Settings) -> list[Middleware]:
    if settings.rate_limits == "off":
        return []
    return [
        Middleware(
            WriteLimit,
            per_minute=WRITES_PER_MINUTE,
            proxies=trusted_proxies.parse(settings.trusted_proxies),
            unlimited=frozenset({"/api/payments/webhook"}),
        )
    ]


def _push(settings: Settings) -> Starlette:
    """The gateway and the routes that authorize its clients, as one application."""
    verifier = _verifier(settings, "push")
    gateway = build_gateway(
        GatewaySettings(
            app_id=settings.pusher_app_id,
            key=settings.pusher_key,
            secret=settings.pusher_secret,
            redis_url=settings.push_log_url,
            client_events=settings.push_client_events == "on",
            subscription_counts=settings.push_subscription_count == "on",
            lease_seconds=settings.push_lease_seconds,
            watchlists=settings.push_watchlists == "on",
            cache_seconds=settings.push_cache_seconds,
            origins=settings.push_socket_origins,
            webhook_urls=settings.push_webhook_urls,
            record_facts=bool(settings.push_webhook_urls),
            drain_seconds=settings.drain_seconds,
            trusted_proxies=trusted_proxies.parse(settings.trusted_proxies),
            **_connection_limits(settings),
        ),
        # With the signatures of hosted Pusher it is a plain Pusher server, as that one is.
        verifier.ended_sessions if settings.push_backend == "gateway" else None,
        settings.other_push_apps,
    )
    # Its lifespan reads the ended sessions, for the gateway too.
    api = _web([push_routes.component(settings)], settings, verifier)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with (
            api.router.lifespan_context(app) as api_state,
            gateway.router.lifespan_context(app) as gateway_state,
        ):
            checks = {**(api_state or {})["checks"], **(gateway_state or {})["checks"]}
            yield {**(api_state or {}), **(gateway_state or {}), "checks": checks}

    both = Starlette(routes=[*gateway.routes, Mount("/", app=api)], lifespan=lifespan)
    both.state.settings = gateway.state.settings
    return both


def _connection_limits(settings: Settings) -> dict[str, Any]:
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = connection_limits(open_files if open_files != resource.RLIM_INFINITY else sys.maxsize)
    each = settings.max_connections_per_address
    if settings.rate_limits == "off":
        each = limits["max_connections"]
    return {**limits, "max_connections_per_address": each}


def _verifier(settings: Settings, role: str) -> TokenVerifier:
    """A verifier that reads the ended sessions as this database role. Raises SettingsError."""
    try:
        keys = load_public_keys(settings.jwt_public_keys)
    except ValueError as error:
        raise SettingsError(
            "JWT_PUBLIC_KEYS are not Ed25519 public keys in PEM: set those of `gittix secrets`"
        ) from error
    return TokenVerifier(
        keys,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        ended_sessions=EndedSessions(
            settings.role_database_url(role), access_seconds=settings.jwt_access_seconds
        ),
    )


def _socket_closer(settings: Settings) -> Callable[[UUID], Any] | None:
    """A function that closes a user's connections to hosted Pusher, which knows no sessions. None
    with our gateways, which close the sockets of ended sessions themselves.
    """
    if settings.push_backend == "gateway" or not (
        settings.pusher_app_id and settings.pusher_key and settings.pusher_secret
    ):
        return None
    client = pusher_client(settings)

    async def close(user_id: UUID) -> None:
        await asyncio.to_thread(client.terminate_user_connections, str(user_id))

    return close
