"""Many signed-in people behind one address, with the default limits of every part."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect

from backend.embedded.postgres import Postgres
from tests import factories
from tests.deploy.fleet import Fleet, running
from tests.deploy.nginx import Nginx
from tests.deploy.wire import exchange
from tests.stores import fresh_system
from tests.system import PUSHER_KEY, Person

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]

SOCKETS = 201
LOADS = 300
# So many pages load at the same moment.
AT_ONCE = 60
STATUS = re.compile(r"HTTP/1\.1 (\d{3}) ")
FILES = re.compile(r'(?:href|src)="(/assets/[^"]+)"')


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def office(
    postgres: Postgres, redis_socket: str, folder: Path
) -> AsyncIterator[tuple[Fleet, Nginx]]:
    place = folder / "nat"
    place.mkdir()
    async with (
        fresh_system(postgres, redis_socket, place) as system,
        running(system, replicas=1, environment={"RATE_LIMITS": "on"}) as found,
    ):
        yield found


async def test_300_page_loads_from_one_address_are_all_answered(
    office: tuple[Fleet, Nginx],
) -> None:
    fleet, nginx = office
    show = await factories.show(fleet.system.person("seller"))
    async with nginx.client() as http:
        page = await http.get("/")
    paths = [
        "/",
        *dict.fromkeys(FILES.findall(page.text)),
        "/favicon.svg",
        "/shop.json",
        "/api/users/currentuser",
        "/api/shows",
        "/api/shows/facets",
        f"/api/shows/{show['id']}",
        f"/api/tickets?show_id={show['id']}",
        "/api/orders",
    ]
    at_once = asyncio.Semaphore(AT_ONCE)

    async def load(number: int) -> Counter[str]:
        async with at_once:
            return await _load(nginx, paths, fleet.system.person(f"person{number}"))

    loads = await asyncio.gather(*(load(number) for number in range(LOADS)))
    assert sum(loads, Counter()) == {"200": LOADS * len(paths)}
    assert len(paths) > 20


async def _load(nginx: Nginx, paths: Sequence[str], person: Person) -> Counter[str]:
    """The statuses of these paths. The requests are sent in one piece on one connection, since a
    client library takes longer for them than the services take.
    """
    head = f"Host: shop.example\r\nCookie: gittix_session={person.token}\r\n"
    requests = [f"GET {path} HTTP/1.1\r\n{head}" for path in paths]
    requests[-1] += "Connection: close\r\n"
    reply = await exchange(nginx, "\r\n".join([*requests, ""]), seconds=60)
    return Counter(STATUS.findall(reply))


async def test_201_sockets_of_signed_in_users_from_one_address_are_accepted(
    office: tuple[Fleet, Nginx],
) -> None:
    fleet, nginx = office
    url = f"ws://127.0.0.1:{nginx.port}/app/{PUSHER_KEY}?protocol=7"
    async with nginx.client() as http, AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(connect(url)) for _ in range(SOCKETS)]
        for number, socket in enumerate(sockets):
            await _sign_in(http, socket, fleet.system.person(f"watcher{number}"))
        await asyncio.gather(*(_ping(socket) for socket in sockets))


async def _sign_in(http: httpx.AsyncClient, socket: ClientConnection, person: Person) -> None:
    established = json.loads(await socket.recv())
    reply = await http.post(
        "/api/push/user-auth",
        data={"socket_id": json.loads(established["data"])["socket_id"]},
        headers={"Authorization": f"Bearer {person.token}"},
    )
    assert reply.status_code == 200, reply.text
    await socket.send(json.dumps({"event": "pusher:signin", "data": reply.json()}))
    assert json.loads(await socket.recv())["event"] == "pusher:signin_success"


async def _ping(socket: ClientConnection) -> None:
    """The socket is still open, and the gateway answers it."""
    await socket.send('{"event":"pusher:ping","data":{}}')
    assert json.loads(await socket.recv())["event"] == "pusher:pong"
