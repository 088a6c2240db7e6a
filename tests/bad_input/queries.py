"""The parameters of lists."""

import base64
import json
from typing import Any

from tests.bad_input.definitions import HUGE, NO_CURRENCY, NOWHERE, NUL, BadRequest


def cursor(*key: Any) -> str:
    return (
        base64.urlsafe_b64encode(json.dumps(key[0] if len(key) == 1 else key).encode())
        .decode()
        .rstrip("=")
    )


_PARAMETERS: dict[str, list[str]] = {
    "/api/tickets": [
        "limit=0",
        "limit=-1",
        "limit=501",
        "limit=ten",
        f"limit={HUGE}",
        "sort=seller",
        "sort=price;drop",
        "status=lost",
        "show_id=1",
        "seller=you",
        "min_price=-1",
        "min_price=1.5",
        f"max_price={HUGE}",
        "currency=EURO",
        "hidden=perhaps",
        "q=%21%21",
        f"q={'x' * 101}",
        "cursor=nonsense",
        "cursor=%C3%A9",
        "cursor=!!",
        f"cursor={cursor('x', NOWHERE)}",
        f"cursor={cursor(NOWHERE)}",
        f"cursor={cursor('EUR', HUGE, NOWHERE)}&sort=price",
        f"cursor={cursor('EUR', 2**63, NOWHERE)}&sort=price",
        f"cursor={cursor('EUR', 1, NOWHERE)}",
        f"cursor={cursor(1, NOWHERE)}&sort=price",
        f"cursor={cursor(None, None, NOWHERE)}&sort=price",
        f"cursor={cursor(None, 1, NOWHERE)}&sort=price",
        f"cursor={cursor('EUR', None, NOWHERE)}&sort=price",
        f"cursor={base64.urlsafe_b64encode(b'[' * 5000).decode()}",
    ],
    "/api/shows": [
        "limit=0",
        "sort=title",
        "ids=",
        "ids=1",
        f"ids={NOWHERE},",
        f"ids={','.join([NOWHERE] * 101)}",
        "owner=1",
        "seller=1",
        "q=%21",
        "first_day=0001-01-01",
        "first_day=2030-02-30",
        "last_day=9999-12-31",
        "last_day=2030-01-01T00:00:00Z",
        "from=yesterday",
        "from=2030-01-01",
        "from=2030-01-01T00:00:00",
        "from=0001-01-01T00:00:00%2B14:00",
        "to=9999-12-31T23:59:59-14:00",
        f"city={'x' * 61}",
        f"category={'x' * 41}",
        "cursor=nonsense",
        f"cursor={cursor('2030-01-01', NOWHERE)}",
        f"cursor={cursor('0001-01-01T00:00:00+14:00', NOWHERE)}",
    ],
    "/api/shows/{show}/sections": [
        "limit=0",
        "limit=501",
        "limit=ten",
        "cursor=nonsense",
        f"cursor={cursor(1)}",
        f"cursor={cursor('a', 'b')}",
    ],
    "/api/orders": [
        "limit=0",
        "limit=x",
        "status=lost",
        "cursor=nonsense",
        f"cursor={cursor(1)}",
        f"cursor={cursor('x')}",
    ],
    "/api/sales": [
        "limit=0",
        "limit=101",
        "status=completed",
        "cursor=nonsense",
        f"cursor={cursor(NOWHERE)}",
        f"cursor={cursor(1, NOWHERE)}",
        f"cursor={cursor(NOWHERE, NOWHERE, NOWHERE)}",
        "show_id=1",
        "since=yesterday",
        "since=2026-11-30T12:00:00",
    ],
    "/api/sales/shows": ["days=0", "days=93", "timezone=Europe/Atlantis"],
    "/api/sales/summary": [
        "show_id=1",
        "days=0",
        "days=93",
        "days=all",
        f"days={HUGE}",
        "by=minute",
        "by=day;drop",
        "timezone=",
        "timezone=Europe/Atlantis",
        "timezone=../../etc/passwd",
        f"timezone={'x' * 61}",
    ],
}
_NUL = [
    "/api/tickets?q=a%00",
    "/api/tickets?seller=%00",
    "/api/tickets?cursor=%00",
    "/api/shows?city=%00",
    "/api/orders?status=%00",
    "/api/sales/summary?timezone=%00",
]

QUERIES: dict[str, BadRequest] = {
    **{
        f"{path}?{query[:60]}": BadRequest("GET", f"{path}?{query}")
        for path, many in _PARAMETERS.items()
        for query in many
    },
    **{path: BadRequest("GET", path, None, NUL) for path in _NUL},
    **{
        path: BadRequest("GET", path, None, NO_CURRENCY)
        for path in ("/api/tickets?min_price=100", "/api/tickets?max_price=100")
    },
}
