"""The routes that authorize Pusher clients to subscribe to a channel or to sign in.

These routes sign; the gateway only verifies the signatures. For our gateway a signature names the
caller's session and is valid for a minute; hosted Pusher gets the plain signatures of its protocol.
A refusal is an HTTP 403 from these routes, since pusher-js cannot retry a channel on the same
connection after a refusal by the gateway.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backend.kernel import principal
from backend.kernel.openapi import describe
from backend.kernel.principal import Principal
from backend.kernel.problems import Forbidden, Invalid
from backend.kernel.settings import Settings
from backend.kernel.web import Component, ComponentState, read_form, reply
from backend.push.protocol import USER_CHANNEL_PREFIX, is_channel_name, is_socket_id
from backend.push.signature import channel_text, sign, sign_for_session, signin_text

NEEDS = ("jwt_public_keys", "pusher_app_id", "pusher_key", "pusher_secret", "pusher_host")

UUID_TEXT = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
PRESENCE = re.compile(f"presence-show-{UUID_TEXT}")


class ChannelForm(msgspec.Struct, frozen=True):
    """The form that pusher-js posts."""

    socket_id: Annotated[str, Meta(max_length=100)]
    channel_name: Annotated[str, Meta(max_length=200)]


class UserForm(msgspec.Struct, frozen=True):
    socket_id: Annotated[str, Meta(max_length=100)]


class ChannelAuth(msgspec.Struct, frozen=True, omit_defaults=True):
    auth: str
    channel_data: str | None = None


class UserAuth(msgspec.Struct, frozen=True):
    auth: str
    user_data: str


class PushConfig(msgspec.Struct, frozen=True):
    """The settings that a Pusher client needs to connect."""

    key: str
    host: str
    port: int
    tls: bool
    cluster: str


class ChannelForbidden(Forbidden):
    code = "channel_forbidden"


class PushState(NamedTuple):
    key: str
    secret: str
    config: PushConfig
    # Whether signatures name sessions: our gateway demands it, hosted Pusher does not know them.
    names_sessions: bool

    def token(self, user: Principal, text: str) -> str:
        """The user's token for this text."""
        if self.names_sessions:
            return sign_for_session(
                self.key,
                self.secret,
                text,
                session_id=user.session_id,
                session_until=user.session_until,
            )
        return f"{self.key}:{sign(self.secret, text)}"


@describe(tag="push", form=ChannelForm, ok=ChannelAuth, problems=(403,))
async def authorize_channel(request: Request) -> Response:
    """Authorize a subscription to a private or presence channel of the caller."""
    user = principal.require(request)
    form = await read_form(request, ChannelForm)
    _check_socket(form.socket_id)
    if not is_channel_name(form.channel_name):
        raise Invalid("channel_name must be a valid Pusher channel name", code="bad_channel_name")
    state = _state(request)
    channel_data = _channel_data(state.secret, user, form.channel_name)
    text = channel_text(form.socket_id, form.channel_name, channel_data)
    return reply(ChannelAuth(state.token(user, text), channel_data))


@describe(tag="push", form=UserForm, ok=UserAuth)
async def authorize_user(request: Request) -> Response:
    """Sign in a connection as the caller."""
    user = principal.require(request)
    form = await read_form(request, UserForm)
    _check_socket(form.socket_id)
    user_data = _json({"id": str(user.user_id)})
    token = _state(request).token(user, signin_text(form.socket_id, user_data))
    return reply(UserAuth(token, user_data))


@describe(tag="push", public=True, ok=PushConfig)
async def config(request: Request) -> Response:
    """Return the settings of Pusher clients."""
    return reply(_state(request).config)


def component(settings: Settings) -> Component:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[ComponentState]:
        config = PushConfig(
            settings.pusher_key,
            settings.pusher_address,
            settings.pusher_port,
            settings.pusher_tls,
            settings.pusher_cluster,
        )
        state = PushState(
            settings.pusher_key,
            settings.pusher_secret,
            config,
            names_sessions=settings.push_backend == "gateway",
        )
        yield ComponentState(state, {})

    return Component("push", routes, lifespan)


def _channel_data(secret: str, user: Principal, channel: str) -> str | None:
    """Return the user's presence data for a channel, or None for a private channel.

    Raises ChannelForbidden.
    """
    if channel == USER_CHANNEL_PREFIX + str(user.user_id):
        return None
    if PRESENCE.fullmatch(channel):
        return _json({"user_id": _visit_id(secret, user, channel)})
    raise ChannelForbidden("this channel is not yours")


def _visit_id(secret: str, user: Principal, channel: str) -> str:
    """Return an id for a session's visits to a channel on one day.

    Every member of the channel sees it, and can link it neither to the user nor to its visits of
    other channels and days. The tabs of one browser count as one.
    """
    today = datetime.now(UTC).date()
    return sign(secret, f"visit:{user.session_id}:{channel}:{today}")[:24]


def _check_socket(socket_id: str) -> None:
    if not is_socket_id(socket_id):
        raise Invalid("socket_id must be the one that the gateway assigned", code="bad_socket_id")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _state(request: Request) -> PushState:
    state: PushState = request.state.push
    return state


routes = [
    Route("/api/push/auth", authorize_channel, methods=["POST"]),
    Route("/api/push/user-auth", authorize_user, methods=["POST"]),
    Route("/api/push/config", config, methods=["GET"]),
]
