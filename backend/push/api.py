"""The HTTP API of Pusher Channels: trigger events, query channels, terminate a user's connections.

Triggered events are appended to the push log, so all gateways deliver them. Queries are answered
from the state of all gateways; while Redis does not answer, from this gateway's. Errors are plain
text, since the server libraries pass the text on to their callers.
"""

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from backend.kernel.decoding import Malformed, decode_json, decode_pairs
from backend.kernel.validation import invalid_input
from backend.push import protocol, signature
from backend.push import push_log as pushlog
from backend.push.apps import Apps
from backend.push.cluster import ChannelState
from backend.push.gateway import Gateway
from backend.push.idempotency import HEADER, MAX_KEY_LENGTH, Outcome
from backend.push.protocol import Kind
from backend.push.push_log import Message
from backend.push.push_log_backend import PushLogUnavailable
from backend.push.settings import GatewaySettings

MAX_CHANNELS: Final = 100
MAX_BATCH: Final = 10
ATTRIBUTES: Final = ("user_count", "subscription_count")
# A batch of ten messages of 10 KB is 600 KB when every byte is escaped as \u00xx.
MAX_BODY_BYTES: Final = 1_048_576
CLOCK_SKEW_SECONDS: Final = 600


class ApiError(Exception):
    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Event(msgspec.Struct):
    """One event of a trigger or of a batch: `channels` or `channel`."""

    name: str
    data: str
    channels: list[str] | None = None
    channel: str | None = None
    socket_id: str | None = None
    info: str | None = None

    def targets(self) -> tuple[str, ...]:
        named = (
            self.channels
            if self.channels is not None
            else [self.channel]
            if self.channel is not None
            else []
        )
        return tuple(dict.fromkeys(named))


class EventBatch(msgspec.Struct):
    batch: list[Event]


@dataclass(frozen=True)
class Call:
    gateway: Gateway
    path: dict[str, str]
    query: dict[str, str]
    body: bytes
    # The path of the request, and the caller's X-Idempotency-Key.
    target: str
    idempotency_key: str | None

    def json(self, shape: type[Any]) -> Any:
        try:
            return decode_json(self.body, shape)
        except msgspec.ValidationError as error:
            problem = invalid_input(error, shape)
            raise ApiError(400, f"malformed body: {problem.detail}") from error
        except Malformed as error:
            raise ApiError(400, f"the body {error}") from error


async def trigger(call: Call) -> Any:
    event: Event = call.json(Event)
    message, attributes = _message(event, call.gateway.settings), _attributes(event.info)
    await _publish(call, message)
    if event.info is None:
        return {}
    states = await call.gateway.cluster.channels_of(message.channels)
    return {"channels": {name: _known(name, state, attributes) for name, state in states.items()}}


async def trigger_batch(call: Call) -> Any:
    batch = call.json(EventBatch).batch
    if len(batch) > MAX_BATCH:
        raise ApiError(400, f"at most {MAX_BATCH} events in a batch")
    messages = [_message(event, call.gateway.settings) for event in batch]
    requested = [_attributes(event.info) for event in batch]
    if batch:
        await _publish(call, *messages)
    if all(event.info is None for event in batch):
        return {}
    first = [message.channels[0] for message in messages]
    states = await call.gateway.cluster.channels_of(dict.fromkeys(first))
    return {
        "batch": [
            _known(name, states[name], attributes)
            for name, attributes in zip(first, requested, strict=True)
        ]
    }


async def channels(call: Call) -> Any:
    prefix, info = call.query.get("filter_by_prefix", ""), call.query.get("info", "")
    attributes = _attributes(info)
    if attributes and (attributes != ["user_count"] or not prefix.startswith("presence-")):
        raise ApiError(400, "only user_count is returned, with filter_by_prefix=presence-")
    names = await call.gateway.cluster.occupied(prefix)
    states = await call.gateway.cluster.channels_of(names) if attributes else {}
    return {
        "channels": {
            name: _known(name, states[name], attributes) if attributes else {} for name in names
        }
    }


async def channel(call: Call) -> Any:
    name = _channel_name(call.path["channel"])
    attributes = _attributes(call.query.get("info"), also="cache")
    if "cache" in attributes and not protocol.is_cache_channel(name):
        raise ApiError(400, f"{name} has no cache")
    other = "user_count" if protocol.kind_of(name) is not Kind.PRESENCE else "subscription_count"
    if other in attributes:
        raise ApiError(400, f"{name} has no {other}")
    state = await call.gateway.cluster.channel(name)
    known: dict[str, Any] = _known(name, state, attributes)
    if "cache" in attributes:
        known["cache"] = await _cached(call.gateway, name)
    return {"occupied": state.is_occupied, **known}


async def users(call: Call) -> Any:
    name = _channel_name(call.path["channel"])
    if protocol.kind_of(name) is not Kind.PRESENCE:
        raise ApiError(400, "only presence channels have users")
    return {"users": [{"id": user_id} for user_id in await call.gateway.cluster.user_ids(name)]}


async def terminate_connections(call: Call) -> Any:
    user_id = call.path["user_id"]
    if not protocol.is_user_id(user_id):
        raise ApiError(400, "invalid user id")
    await _publish(call, pushlog.termination(user_id))
    return {}


Handler = Callable[[Call], Awaitable[Any]]


def signed(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler: verify the signature, and return errors as Pusher's libraries expect."""

    async def endpoint(request: Request) -> Response:
        apps: Apps = request.state.apps
        try:
            body = await _body(request)
            query = _query(request)
            app_id, key = request.path_params.get("app_id"), _given(query).get("auth_key", "")
            gateway = apps.of_request(app_id, key)
            _check_signature(request, gateway.settings, query, body)
            answer = await handler(
                Call(
                    gateway,
                    request.path_params,
                    dict(query),
                    body,
                    request.scope["path"],
                    _idempotency_key(request),
                )
            )
        except ApiError as error:
            return PlainTextResponse(str(error), error.status, error.headers)
        except ClientDisconnect:
            return PlainTextResponse("the request ended before its body did", 400)
        except PushLogUnavailable:
            return PlainTextResponse("the event may not have been published, try again", 503)
        return Response(protocol.encode(answer), media_type="application/json")

    return endpoint


def routes() -> list[BaseRoute]:
    terminate = "/users/{user_id:path}/terminate_connections"
    return [
        Route("/apps/{app_id}/events", signed(trigger), methods=["POST"]),
        Route("/apps/{app_id}/batch_events", signed(trigger_batch), methods=["POST"]),
        Route("/apps/{app_id}/channels", signed(channels), methods=["GET"]),
        Route("/apps/{app_id}/channels/{channel}", signed(channel), methods=["GET"]),
        Route("/apps/{app_id}/channels/{channel}/users", signed(users), methods=["GET"]),
        Route("/apps/{app_id}" + terminate, signed(terminate_connections), methods=["POST"]),
        # In this path the Python library omits the app, which is known from the key.
        Route(terminate, signed(terminate_connections), methods=["POST"]),
    ]


def _idempotency_key(request: Request) -> str | None:
    key = request.headers.get(HEADER)
    if key is not None and not 0 < len(key) <= MAX_KEY_LENGTH:
        raise ApiError(400, f"{HEADER} must have up to {MAX_KEY_LENGTH} characters")
    return key


def _query(request: Request) -> list[tuple[str, str]]:
    try:
        return decode_pairs(request.scope["query_string"])
    except Malformed as error:
        raise ApiError(400, f"the query string {error}") from error


def _given(query: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in query}


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise ApiError(413, "body too large")
    except ClientDisconnect as error:
        raise ApiError(400, "incomplete body") from error
    return bytes(body)


def _check_signature(
    request: Request, settings: GatewaySettings, query: list[tuple[str, str]], body: bytes
) -> None:
    given = _given(query)
    if request.path_params.get("app_id", settings.app_id) != settings.app_id:
        raise ApiError(404, "unknown app")
    if not hmac.compare_digest(given.get("auth_key", "").encode(), settings.key.encode()):
        raise ApiError(401, "unknown auth_key")
    if given.get("auth_version") != "1.0":
        raise ApiError(401, "auth_version must be 1.0")
    # Libraries sign the path as they got it or with its escapes; a user's id may need some.
    raw_path: bytes = request.scope["raw_path"]
    if not any(
        signature.verify(
            settings.secret,
            signature.request_text(request.method, path, query),
            given.get("auth_signature", ""),
        )
        for path in dict.fromkeys((request.scope["path"], raw_path.decode("latin-1")))
    ):
        raise ApiError(401, "invalid auth_signature")
    stamp = given.get("auth_timestamp", "")
    if not stamp.isdecimal() or abs(time.time() - int(stamp[:12])) > CLOCK_SKEW_SECONDS:
        raise ApiError(401, "auth_timestamp is too far from this server's clock")
    digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if (body or "body_md5" in given) and not hmac.compare_digest(
        given.get("body_md5", "").encode(), digest.encode()
    ):
        raise ApiError(401, "body_md5 does not match the body")


async def _publish(call: Call, *messages: Message) -> None:
    """Publish all messages or none; a request that is repeated with its key publishes nothing.

    Raises ApiError above the budget of the HTTP API, and for a key of another request.
    """
    gateway, key = call.gateway, call.idempotency_key
    budget = gateway.api_budget
    count = sum(max(1, len(message.channels)) for message in messages)
    if not budget.allows(asyncio.get_running_loop().time(), count):
        seconds = math.ceil(budget.seconds_until(count))
        raise ApiError(
            429,
            f"more than {gateway.settings.api_messages_per_second} messages a second",
            {"Retry-After": str(max(1, seconds))},
        )
    if key is None:
        await gateway.publish(*messages)
    elif (
        await gateway.publish_once(key, f"{call.target}\n".encode() + call.body, messages)
        is Outcome.CONFLICT
    ):
        raise ApiError(409, f"this {HEADER} was used for another request")


def _message(event: Event, settings: GatewaySettings) -> Message:
    """Validate an event and return its message. Raises ApiError."""
    targets = tuple(_channel_name(name) for name in event.targets())
    if not targets or len(targets) > MAX_CHANNELS:
        raise ApiError(400, f"between one and {MAX_CHANNELS} channels are needed")
    if len(targets) > 1 and any(protocol.kind_of(name) is Kind.ENCRYPTED for name in targets):
        raise ApiError(400, "an encrypted channel must be the only one")
    if not event.name or len(event.name) > protocol.MAX_NAME_LENGTH:
        raise ApiError(400, "invalid event name")
    if event.socket_id is not None and not protocol.is_socket_id(event.socket_id):
        raise ApiError(400, "invalid socket_id")
    if len(event.data.encode()) > settings.max_message_bytes:
        raise ApiError(413, f"data exceeds {settings.max_message_bytes} bytes")
    return Message(targets, event.name, event.data, excluded=event.socket_id)


async def _cached(gateway: Gateway, name: str) -> dict[str, Any] | None:
    """Return a channel's event with its lifetime in seconds, or None. Raises ApiError."""
    try:
        found = await gateway.caches.read(name)
    except (RedisError, OSError, TimeoutError) as error:
        raise ApiError(503, "the cache cannot be read, try again") from error
    if found is None:
        return None
    return {"data": found.data, "ttl": math.ceil(found.milliseconds_left / 1_000)}


def _attributes(info: str | None, *, also: str = "") -> list[str]:
    """Return the requested attributes of channels. Raises ApiError for an unknown one."""
    attributes = [attribute.strip() for attribute in (info or "").split(",")]
    for attribute in attributes:
        if attribute not in ("", also, *ATTRIBUTES):
            raise ApiError(400, f"unknown attribute: {attribute[:50]}")
    return [attribute for attribute in attributes if attribute]


def _known(name: str, state: ChannelState, attributes: list[str]) -> dict[str, int]:
    """Return the requested attributes that the channel has."""
    found = {"subscription_count": state.subscriptions}
    if protocol.kind_of(name) is Kind.PRESENCE:
        found["user_count"] = state.users
    return {attribute: found[attribute] for attribute in attributes if attribute in found}


def _channel_name(name: str) -> str:
    if not protocol.is_channel_name(name):
        raise ApiError(400, f"invalid channel name: {name[: protocol.MAX_NAME_LENGTH]}")
    return name
