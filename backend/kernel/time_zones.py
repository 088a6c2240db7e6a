"""Time zones by their IANA names."""

from zoneinfo import available_timezones

from backend.kernel.problems import invalid

# `localtime` is the server's own zone, which is no place.
ZONES = available_timezones() - {"localtime"}


def check_zone(field: str, name: str) -> str:
    """Returns the name. Raises Invalid for an unknown zone."""
    if name not in ZONES:
        raise invalid(field, "must be an IANA time zone such as Europe/Amsterdam")
    return name
