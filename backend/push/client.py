"""The official `pusher` library, configured for our gateway or for hosted Pusher."""

import pusher

from backend.kernel.settings import Settings

CALL_SECONDS = 5


def pusher_client(settings: Settings) -> pusher.Pusher:
    """Return a blocking client, to be called in a thread."""
    return pusher.Pusher(
        app_id=settings.pusher_app_id,
        key=settings.pusher_key,
        secret=settings.pusher_secret,
        cluster=settings.pusher_cluster,
        host=settings.pusher_host or None,
        port=settings.pusher_port,
        ssl=settings.pusher_tls,
        timeout=CALL_SECONDS,
    )
