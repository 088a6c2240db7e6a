"""The Pusher apps of one gateway process: the shop's, and those of `PUSH_APPS`.

Each app has its own key, secret, channels and users, and its own database of the same Redis, so
nothing of one app reaches another. The other apps are plain Pusher servers: their servers sign for
their clients, and they know no sessions of the shop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from backend.kernel.redis_url import with_redis_database
from backend.kernel.settings import PushApp
from backend.push.gateway import Gateway
from backend.push.settings import GatewaySettings


class Apps:
    """The gateways of this process, that of the shop first."""

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self.first = gateways[0]
        self._by_key = {gateway.settings.key: gateway for gateway in gateways}
        self._by_id = {gateway.settings.app_id: gateway for gateway in gateways}

    def __iter__(self) -> Iterator[Gateway]:
        return iter(self._by_key.values())

    def of_key(self, key: str | None) -> Gateway:
        """The gateway of this key, or the first one, which refuses a key that is not its own."""
        return self._by_key.get(key or "", self.first)

    def of_request(self, app_id: str | None, key: str) -> Gateway:
        """The gateway of a request's path, or of its `auth_key` if the path names no app. For an
        unknown one, the first.
        """
        return self.of_key(key) if app_id is None else self._by_id.get(app_id, self.first)


def all_settings(first: GatewaySettings, others: Sequence[PushApp]) -> list[GatewaySettings]:
    """The settings of all apps. They share the connections that the process may have."""
    share = max(1, first.max_connections // (1 + len(others)))
    return [
        replace(first, max_connections=share),
        *(
            replace(
                first,
                max_connections=share,
                app_id=app.id,
                key=app.key,
                secret=app.secret,
                redis_url=with_redis_database(first.redis_url, app.database),
                # Any page may use another app, as with hosted Pusher; and only the shop's events
                # are posted.
                origins=None,
                webhook_urls=(),
                record_facts=False,
            )
            for app in others
        ),
    ]
