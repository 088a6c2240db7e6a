from backend.push.client_events import UserBudgets
from backend.push.settings import GatewaySettings


def budgets(events: int, size: int) -> UserBudgets:
    return UserBudgets(
        GatewaySettings(
            app_id="1",
            key="key",
            secret="secret",
            redis_url="",
            user_client_events_per_second=events,
            user_client_event_bytes_per_second=size,
        )
    )


def test_a_user_has_a_number_of_events_in_each_second() -> None:
    found = budgets(events=3, size=1_000)
    assert [found.allows("ann", 1, 7.0 + n / 10) for n in range(5)] == [True] * 3 + [False] * 2
    assert found.allows("bob", 1, 7.9)
    assert found.allows("ann", 1, 8.0)


def test_a_user_has_a_number_of_bytes_in_each_second() -> None:
    found = budgets(events=100, size=1_000)
    assert [found.allows("ann", 400, 7.0) for _ in range(3)] == [True, True, False]
    # A refused event counts too: retrying it at once does not get it through.
    assert not found.allows("ann", 1, 7.5)
    assert found.allows("ann", 1_000, 8.0)


def test_the_counts_of_past_seconds_are_dropped() -> None:
    found = budgets(events=1, size=1)
    for second in range(50):
        for user in range(100):
            found.allows(f"user-{user}", 1, second)
    assert len(found._events) == len(found._bytes) == 100
