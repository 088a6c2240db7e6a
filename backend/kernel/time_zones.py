"""Time zones by their IANA names."""

from zoneinfo import available_timezones

from backend.kernel.problems import invalid

ZONES = available_timezones()


def check_zone(field: str, name: str) -> str:
    """The name itself. Raises Invalid when there is no such zone."""
    if name not in ZONES:
        raise invalid(field, "must be an IANA time zone such as Europe/Amsterdam")
    return name
