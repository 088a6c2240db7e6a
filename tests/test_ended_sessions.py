"""I16: a session that has ended can neither read nor write nor receive anything private after one
second, in any process. Real services, two gateways, and sessions that end in every way.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pusher
import pytest
import uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from backend import bootstrap
from backend.push import signature
from backend.push.server import GatewayServer, uvicorn_config
from loadtests.ports import free_port
from tests.factories import SHOW
from tests.push.servers import RawClient
from tests.replies import code
from tests.system import PUSHER_KEY, PUSHER_SECRET, System, served, until

PASSWORD = "correct horse battery"
# The bound of the invariant.
END_SECONDS = 1.0
# Far longer than an end takes: what is still open then stays open.
CONTROL_SECONDS = 2.0
SESSION = "gittix_session"
REFRESH = "gittix_refresh"


class Account(NamedTuple):
    """A signed-up user in a browser with its own cookies."""

    browser: httpx.AsyncClient
    user_id: str
    email: str

    @property
    def token(self) -> str:
        return self.browser.cookies[SESSION]


class Nodes:
    """An API with all services, a process of orders, and two gateways."""

    def __init__(self, system: System, rows: Any, orders: int, gateways: tuple[int, int]) -> None:
        self.system = system
        self.rows = rows
        self.gateways = gateways
        self.http = system.anonymous()
        self.services = [system.url, *(_url(port) for port in (orders, *gateways))]

    async def sign_up(self) -> Account:
        browser = self.system.anonymous()
        email = f"{uuid4().hex}@example.com"
        made = await browser.post("/api/users/signup", json={"email": email, "password": PASSWORD})
        assert made.status_code == 201, made.text
        return Account(browser, made.json()["current_user"]["id"], email)

    async def authorize(self, token: str, socket_id: str, channel: str) -> httpx.Response:
        form = {"socket_id": socket_id, "channel_name": channel}
        return await self.http.post("/api/push/auth", data=form, headers=bearer(token))

    @asynccontextmanager
    async def socket(self, gateway: int) -> AsyncIterator[RawClient]:
        url = f"ws://127.0.0.1:{gateway}/app/{PUSHER_KEY}?protocol=7"
        async with connect(url, compression=None) as socket:
            client = RawClient(socket)
            await client.established()
            yield client

    @asynccontextmanager
    async def private_sockets(self, account: Account) -> AsyncIterator[list[RawClient]]:
        """A socket on each gateway, subscribed to the private channel of the user."""
        async with AsyncExitStack() as stack:
            sockets = []
            for gateway in self.gateways:
                client = await stack.enter_async_context(self.socket(gateway))
                await self.subscribe(client, account)
                sockets.append(client)
            yield sockets

    async def subscribe(self, client: RawClient, account: Account) -> None:
        channel = f"private-user-{account.user_id}"
        reply = await self.authorize(account.token, client.socket_id, channel)
        assert reply.status_code == 200, reply.text
        await client.send("pusher:subscribe", {"channel": channel, **reply.json()})
        await client.message("pusher_internal:subscription_succeeded")

    async def publish(self, account: Account, event: str) -> None:
        """Publish a message to the private channel of the user."""
        publisher = pusher.Pusher(
            app_id="1",
            key=PUSHER_KEY,
            secret=PUSHER_SECRET,
            host="127.0.0.1",
            port=self.gateways[0],
            ssl=False,
        )
        await asyncio.to_thread(publisher.trigger, f"private-user-{account.user_id}", event, {})

    async def statuses(self, token: str) -> list[int]:
        """The status of one request with this token to each service."""
        form = {"socket_id": "1.1", "channel_name": f"presence-show-{uuid4()}"}
        api, orders, *gateways = self.services
        replies = await asyncio.gather(
            self.http.get(f"{api}/api/orders", headers=bearer(token)),
            self.http.get(f"{orders}/api/orders", headers=bearer(token)),
            *(
                self.http.post(f"{url}/api/push/auth", data=form, headers=bearer(token))
                for url in gateways
            ),
            self.http.post(f"{api}/api/push/user-auth", data=form, headers=bearer(token)),
            self.http.post(f"{api}/api/shows", json=SHOW, headers=bearer(token)),
        )
        return [reply.status_code for reply in replies]


@pytest.fixture
async def nodes(system: System) -> AsyncIterator[Nodes]:
    await system.start("api")
    async with (
        process(system, "orders") as orders,
        process(system, "push") as one,
        process(system, "push") as other,
    ):
        yield Nodes(system, await system.connect(), orders, (one, other))


@asynccontextmanager
async def process(system: System, name: str) -> AsyncIterator[int]:
    """Serve one service on a port of its own, as `gittix serve` does."""
    port = free_port()
    app = bootstrap.build(name, bootstrap.settings_for(name, system.environment))
    server: uvicorn.Server = (
        GatewayServer(uvicorn_config(app, "127.0.0.1", port))
        if name == "push"
        else uvicorn.Server(bootstrap.http_config(app, "127.0.0.1", port))
    )
    async with served(server):
        yield port


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def sign_out(nodes: Nodes, account: Account) -> None:
    assert (await account.browser.post("/api/users/signout")).status_code == 204


async def sign_out_everywhere(nodes: Nodes, account: Account) -> None:
    other = nodes.system.anonymous()
    credentials = {"email": account.email, "password": PASSWORD}
    assert (await other.post("/api/users/signin", json=credentials)).status_code == 200
    assert (await other.post("/api/users/signout?everywhere=true")).status_code == 204


async def sign_in_again(nodes: Nodes, account: Account) -> None:
    credentials = {"email": account.email, "password": PASSWORD}
    assert (await account.browser.post("/api/users/signin", json=credentials)).status_code == 200


async def present_a_used_refresh_token(nodes: Nodes, account: Account) -> None:
    stolen = account.browser.cookies[REFRESH]
    assert (await account.browser.post("/api/users/refresh")).status_code == 200
    await nodes.rows.execute(
        "update auth.refresh_tokens set used_at = used_at - interval '1 minute' where hash = $1",
        sha256(stolen.encode()).digest(),
    )
    thief = nodes.system.anonymous()
    thief.cookies.set(REFRESH, stolen)
    assert code(await thief.post("/api/users/refresh")) == (401, "refresh_reused")


async def delete_the_account(nodes: Nodes, account: Account) -> None:
    await nodes.rows.execute("delete from auth.users where id = $1::uuid", account.user_id)


async def revoke_by_hand(nodes: Nodes, account: Account) -> None:
    """As an operator does, and as auth does before it is killed right after its commit."""
    await nodes.rows.execute(
        "update auth.sessions set revoked_at = now() where user_id = $1::uuid", account.user_id
    )


ENDINGS: list[Callable[[Nodes, Account], Awaitable[None]]] = [
    sign_out,
    sign_out_everywhere,
    sign_in_again,
    present_a_used_refresh_token,
    delete_the_account,
    revoke_by_hand,
]


async def everything_has_ended(nodes: Nodes, token: str, sockets: list[RawClient]) -> None:
    """Return when every socket is closed and every service refuses the token. Raises TimeoutError
    after the bound.
    """
    async with asyncio.timeout(END_SECONDS):
        for client in sockets:
            await client.socket.wait_closed()
    assert [client.socket.close_code for client in sockets] == [4009] * len(sockets)

    async def refused() -> bool:
        return set(await nodes.statuses(token)) == {401}

    await until(refused, seconds=END_SECONDS)


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
async def test_an_ended_session_is_refused_and_its_sockets_are_closed_within_a_second(
    end: Callable[[Nodes, Account], Awaitable[None]], nodes: Nodes
) -> None:
    account, bystander = await nodes.sign_up(), await nodes.sign_up()
    token = account.token
    async with (
        nodes.private_sockets(account) as sockets,
        nodes.private_sockets(bystander) as others,
    ):
        assert set(await nodes.statuses(token)) <= {200, 201}
        await end(nodes, account)
        await everything_has_ended(nodes, token, sockets)
        assert set(await nodes.statuses(bystander.token)) <= {200, 201}
        for other in others:
            await other.send("pusher:ping", {})
            await other.message("pusher:pong")


async def test_without_the_trigger_a_session_ends_nowhere(nodes: Nodes) -> None:
    """The negative control of the test above."""
    await nodes.rows.execute("alter table auth.sessions disable trigger record_end")
    account = await nodes.sign_up()
    token = account.token
    async with nodes.private_sockets(account) as sockets:
        await sign_out(nodes, account)
        await asyncio.sleep(CONTROL_SECONDS)
        assert [client.socket.close_code for client in sockets] == [None, None]
        assert set(await nodes.statuses(token)) <= {200, 201}


async def test_a_signature_made_before_the_end_of_the_session_is_refused_after_it(
    nodes: Nodes,
) -> None:
    account = await nodes.sign_up()
    token, channel = account.token, f"private-user-{account.user_id}"
    for gateway in nodes.gateways:
        async with nodes.socket(gateway) as client:
            kept = (await nodes.authorize(token, client.socket_id, channel)).json()
            user_auth = await nodes.http.post(
                "/api/push/user-auth", data={"socket_id": client.socket_id}, headers=bearer(token)
            )
            if gateway == nodes.gateways[0]:
                await sign_out_everywhere(nodes, account)
                await everything_has_ended(nodes, token, [])
            else:
                # The session has ended already, so nothing is signed any more.
                assert user_auth.status_code == 401
                continue
            await client.send("pusher:subscribe", {"channel": channel, **kept})
            assert (await client.data("pusher:subscription_error"))["status"] == 401
            await client.send("pusher:signin", user_auth.json())
            assert await client.close_code() == 4009


async def test_a_gateway_and_a_service_that_start_later_know_the_ended_sessions(
    nodes: Nodes,
) -> None:
    account = await nodes.sign_up()
    token = account.token
    await sign_out(nodes, account)
    async with process(nodes.system, "push") as gateway, process(nodes.system, "orders") as orders:
        async with nodes.socket(gateway) as client:
            text = signature.channel_text(client.socket_id, f"private-user-{account.user_id}")
            principal = bootstrap._verifier(nodes.system.settings, "push").verify(token)
            assert principal is not None
            kept = signature.sign_for_session(
                PUSHER_KEY,
                PUSHER_SECRET,
                text,
                session_id=principal.session_id,
                session_until=principal.session_until,
            )
            channel = f"private-user-{account.user_id}"
            await client.send("pusher:subscribe", {"channel": channel, "auth": kept})
            assert (await client.data("pusher:subscription_error"))["status"] == 401
        refused = await nodes.http.get(f"{_url(orders)}/api/orders", headers=bearer(token))
        assert refused.status_code == 401


async def test_a_signature_is_valid_for_a_minute(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await nodes.sign_up()
    channel = f"private-user-{account.user_id}"
    now = time.time
    async with nodes.socket(nodes.gateways[0]) as client:
        monkeypatch.setattr(time, "time", lambda: now() - 61)
        late = (await nodes.authorize(account.token, client.socket_id, channel)).json()
        monkeypatch.setattr(time, "time", now)
        await client.send("pusher:subscribe", {"channel": channel, **late})
        assert (await client.data("pusher:subscription_error"))["status"] == 401
        await nodes.subscribe(client, account)


async def test_a_plain_signature_opens_other_apps_channels_and_none_of_ours(nodes: Nodes) -> None:
    user = str(uuid4())
    signing = pusher.Pusher(app_id="1", key=PUSHER_KEY, secret=PUSHER_SECRET)
    async with nodes.socket(nodes.gateways[0]) as client:
        await client.send(
            "pusher:subscribe",
            {
                "channel": f"private-user-{user}",
                **signing.authenticate(f"private-user-{user}", client.socket_id),
            },
        )
        assert (await client.data("pusher:subscription_error"))["status"] == 401
        for channel in ("private-a", "presence-a", f"presence-show-{user}"):
            member = {"user_id": user} if channel.startswith("presence-") else None
            auth = signing.authenticate(channel, client.socket_id, member)
            await client.send("pusher:subscribe", {"channel": channel, **auth})
            answer = (
                "pusher:subscription_error"
                if channel.startswith("presence-show-")
                else "pusher_internal:subscription_succeeded"
            )
            assert (await client.message(answer))["channel"] == channel


async def test_a_socket_has_one_session(nodes: Nodes) -> None:
    account = await nodes.sign_up()
    async with nodes.socket(nodes.gateways[0]) as client:
        await nodes.subscribe(client, account)
        other = await nodes.sign_up()
        channel = f"private-user-{other.user_id}"
        auth = (await nodes.authorize(other.token, client.socket_id, channel)).json()
        await client.send("pusher:subscribe", {"channel": channel, **auth})
        assert await client.close_code() == 4200


async def test_a_socket_is_closed_when_its_session_expires(nodes: Nodes) -> None:
    person = nodes.system.person()
    text = f"private-user-{person.id}"
    async with nodes.socket(nodes.gateways[0]) as client:
        auth = signature.sign_for_session(
            PUSHER_KEY,
            PUSHER_SECRET,
            signature.channel_text(client.socket_id, text),
            session_id=uuid4(),
            session_until=int(time.time()) + 1,
        )
        await client.send("pusher:subscribe", {"channel": text, "auth": auth})
        await client.message("pusher_internal:subscription_succeeded")
        assert await client.close_code() == 4200


async def test_a_token_names_the_end_of_its_session(nodes: Nodes) -> None:
    account = await nodes.sign_up()
    ends: int = await nodes.rows.fetchval(
        "select extract(epoch from t.expires_at)::bigint from auth.refresh_tokens t"
        " join auth.sessions s on s.id = t.session_id where s.user_id = $1::uuid",
        account.user_id,
    )
    principal = bootstrap._verifier(nodes.system.settings, "auth").verify(account.token)
    assert principal is not None
    assert abs(principal.session_until - ends) <= 1


async def test_a_gateway_that_cannot_read_the_ends_delivers_nothing(nodes: Nodes) -> None:
    ended, live = await nodes.sign_up(), await nodes.sign_up()
    function = "execute on function auth.ended_since"
    async with (
        nodes.private_sockets(ended) as sockets,
        nodes.private_sockets(live) as others,
    ):
        await nodes.rows.execute(f"revoke {function} from gittix_push")
        await asyncio.sleep(END_SECONDS)
        await sign_out(nodes, ended)
        await asyncio.sleep(END_SECONDS)
        for account in (ended, live):
            await nodes.publish(account, "secret")
        for client in (*sockets, *others):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await client.message("secret")
        await nodes.rows.execute(f"grant {function} to gittix_push")
        for client in others:
            await client.message("secret")
        for client in sockets:
            assert await client.close_code() == 4009
            # The close frame is the next one: nothing was delivered.
            with pytest.raises(ConnectionClosed):
                await client.message("secret")


async def test_a_service_that_cannot_read_the_ends_refuses_sessions_and_serves_the_public(
    nodes: Nodes,
) -> None:
    account = await nodes.sign_up()
    function = "execute on function auth.ended_since"
    await nodes.rows.execute(f"revoke {function} from gittix_auth")
    await asyncio.sleep(END_SECONDS)
    refused = await account.browser.get("/api/orders")
    assert code(refused) == (503, "temporarily_unavailable")
    assert refused.headers["retry-after"]
    assert (await nodes.system.anonymous().get("/api/shows")).status_code == 200
    ready = await account.browser.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["sessions"]) == (
        503,
        "the ended sessions are not being read",
    )
    await nodes.rows.execute(f"grant {function} to gittix_auth")
    # It waits for the next read.
    assert (await account.browser.get("/api/orders")).status_code == 200


async def test_a_request_whose_body_arrives_after_the_end_of_its_session_changes_nothing(
    nodes: Nodes,
) -> None:
    account = await nodes.sign_up()
    token = account.token
    has_ended = asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"title": "Kept open", "venue": "v", "city": "c", "category": "concert",'
        await has_ended.wait()
        yield b'"starts_at": "2030-12-04T20:00:00+01:00", "timezone": "Europe/Amsterdam"}'

    posting = asyncio.create_task(
        nodes.http.post(
            "/api/shows",
            content=slow_body(),
            headers={"Content-Type": "application/json"} | bearer(token),
        )
    )
    await asyncio.sleep(0.2)
    await sign_out(nodes, account)
    await everything_has_ended(nodes, token, [])
    has_ended.set()
    assert code(await posting) == (401, "unauthorized")
    assert not await nodes.rows.fetchval("select count(*) from tickets.shows where title ~ 'Kept'")
