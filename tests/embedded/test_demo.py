"""The demo has shows of tonight and of this weekend, whenever it is loaded."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from backend.embedded import demo

MONDAY = datetime(2026, 11, 30, tzinfo=UTC)
HOURS = [MONDAY + timedelta(hours=hour) for hour in range(7 * 24)]
FRIDAY = 4


def show_on(day: str) -> demo.Show:
    return next(show for show in demo.SHOWS if show.day == day)


@pytest.mark.parametrize("now", HOURS, ids=lambda now: f"{now:%a-%H}")
def test_a_show_is_on_sale_tonight_and_another_this_weekend(now: datetime) -> None:
    tonight = show_on("tonight")
    start = demo.start_of(tonight, now)
    local = now.astimezone(ZoneInfo(tonight.timezone))
    assert start.date() == local.date()
    assert start + demo.NIGHT - demo.LAST_SALE > now
    assert start + demo.NIGHT > now
    monday = local.date() - timedelta(days=local.weekday())
    weekend = [monday + timedelta(days=day) for day in range(FRIDAY, 7)]
    starts = [demo.start_of(show_on(day), now) for day in ("saturday", "sunday")]
    assert all(start > now for start in starts)
    # On Sunday evening, only tonight is left of the weekend.
    assert any(start.date() in weekend for start in [*starts, start])


def test_a_show_of_the_weekend_moves_to_the_other_day_and_then_to_the_next_week() -> None:
    saturday = show_on("saturday")
    starts = [
        demo.start_of(saturday, MONDAY + timedelta(days=days, hours=hours))
        for days, hours in ((0, 0), (5, 9), (5, 15), (6, 15))
    ]
    assert [f"{start:%a %d}" for start in starts] == ["Sat 05", "Sat 05", "Sun 06", "Sat 12"]


def test_the_categories_of_the_demo_are_many() -> None:
    """The picture of a show follows its category."""
    assert len({show.category for show in demo.SHOWS}) >= len(demo.SHOWS) * 2 / 3
