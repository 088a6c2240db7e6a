"""Time zones by their IANA names."""

from zoneinfo import available_timezones

from backend.kernel.problems import invalid

ZONES = available_timezones()


def check_zone(field: str, name: str) -> str:
    """Returns the name. Raises Invalid for an unknown zone."""
    if name not in ZONES:
        raise invalid(field, "must be an IANA time zone such as Europe/Amsterdam")
    return name
