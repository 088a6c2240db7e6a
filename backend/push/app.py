"""The push gateway's HTTP side as a Starlette app: Pusher's HTTP API, health, metrics.

Sockets do not pass through Starlette: see `gateway_http`.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

from broadcaster import Broadcast
from redis.asyncio import Redis
from starlette.applications import Starlette

from backend.kernel import health
from backend.kernel.ended_sessions import EndedSessions
from backend.kernel.settings import PushApp
from backend.kernel.supervisor import Work, running
from backend.push import api
from backend.push.apps import Apps, all_settings
from backend.push.cluster import TASK as CLUSTER_TASK
from backend.push.cluster import ClusterSync
from backend.push.gateway import Gateway
from backend.push.push_log_backend import CHANNEL, TASK, PushLogBackend
from backend.push.replay import TASK as REPLAY_TASK
from backend.push.settings import GatewaySettings
from backend.push.viewers import TASK as VIEWERS_TASK
from backend.push.viewers import PeopleCount
from backend.push.webhooks import TASK as WEBHOOKS_TASK
from backend.push.webhooks import WebhookQueue, WebhookSender

# No message is delivered while Redis is down, so a failed reader is restarted within a second.
MAX_DELAY_SECONDS: Final = 1.0


def build_gateway(
    settings: GatewaySettings,
    ended_sessions: EndedSessions | None = None,
    others: Sequence[PushApp] = (),
) -> Starlette:
    """The gateway, with the `others` beside the shop's app. With `ended_sessions`, which the caller
    keeps reading, private channels of users need signatures that name a session; without, it is a
    plain Pusher server.
    """
    app = Starlette(
        routes=[
            *api.routes(),
            *health.routes(),
        ],
        lifespan=partial(_lifespan, all_settings(settings, others), ended_sessions),
    )
    app.state.settings = settings
    return app


@asynccontextmanager
async def _lifespan(
    apps: Sequence[GatewaySettings], ended_sessions: EndedSessions | None, _app: Starlette
) -> AsyncIterator[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(_running(apps[0], ended_sessions))
        others = [await stack.enter_async_context(_running(each, None)) for each in apps[1:]]
        checks = dict(first.checks())
        for gateway in others:
            app_id = gateway.settings.app_id
            checks |= {f"app-{app_id}.{name}": check for name, check in gateway.checks().items()}
        yield {"gateway": first, "apps": Apps([first, *others]), "checks": checks}


@asynccontextmanager
async def _running(
    settings: GatewaySettings, ended_sessions: EndedSessions | None
) -> AsyncIterator[Gateway]:
    push_log = PushLogBackend(
        settings.redis_url,
        timeout_seconds=settings.redis_timeout_seconds,
        cache_seconds=settings.cache_seconds,
    )
    broadcast = Broadcast(backend=push_log)
    webhooks = WebhookQueue(
        push_log.writer, settings.webhook_urls, timeout_seconds=settings.redis_timeout_seconds
    )
    gateway = Gateway(settings, push_log, broadcast, webhooks, ended_sessions)
    people = PeopleCount(
        push_log.writer,
        gateway.registry.viewers,
        gateway.registry.viewers_changed,
        lease_seconds=settings.viewer_lease_seconds,
        turn_seconds=settings.viewer_turn_seconds,
        timeout_seconds=settings.redis_timeout_seconds,
    )
    async with (
        broadcast,
        registered(gateway.cluster),
        broadcast.subscribe(CHANNEL) as subscription,
        running(
            (TASK, push_log.read),
            ("push-delivery", partial(gateway.deliver, subscription.get)),
            (REPLAY_TASK, gateway.replays.run),
            (VIEWERS_TASK, people.run),
            (CLUSTER_TASK, gateway.cluster.run),
            *_webhook_tasks(settings, webhooks, push_log.writer),
            max_delay=MAX_DELAY_SECONDS,
        ),
    ):
        yield gateway


@asynccontextmanager
async def registered(cluster: ClusterSync) -> AsyncIterator[None]:
    """Register the gateway before its first client, and end that after its last."""
    await cluster.start()
    try:
        yield
    finally:
        await cluster.stop()


def _webhook_tasks(
    settings: GatewaySettings, queue: WebhookQueue, redis: Redis
) -> Iterator[tuple[str, Work]]:
    """The queue's task and a sender for each URL."""
    for number, url in enumerate(settings.webhook_urls):
        sender = WebhookSender(
            redis,
            url,
            key=settings.key,
            secret=settings.secret,
            timeout_seconds=settings.redis_timeout_seconds,
        )
        if number == 0:
            yield WEBHOOKS_TASK, queue.run
            yield f"{WEBHOOKS_TASK}-facts", queue.copy_facts
        yield f"{WEBHOOKS_TASK}-sender-{number}", sender.run
