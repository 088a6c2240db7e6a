"""Settings: one error lists every missing or malformed variable by name, never by value."""

from decimal import Decimal

import pytest

from backend.kernel.settings import ROLES, SettingsError, load, with_role

DATABASE = "postgresql://owner:s3cret@db.internal:5432/gittix?sslmode=require"


def test_every_missing_need_is_named() -> None:
    with pytest.raises(SettingsError) as refused:
        load({}, needs=["database:orders", "redis_url", "jwt_public_keys"])
    for name in ("ORDERS_DATABASE_URL (or DATABASE_URL)", "REDIS_URL", "JWT_PUBLIC_KEYS"):
        assert f"{name} is not set" in str(refused.value)


def test_the_push_log_is_in_the_redis_of_everything_else_unless_it_has_its_own() -> None:
    with pytest.raises(SettingsError, match=r"PUSH_REDIS_URL \(or REDIS_URL\) is not set"):
        load({}, needs=["push_redis_url"])
    shared = load({"REDIS_URL": "redis://all"}, needs=["push_redis_url"])
    assert shared.push_log_url == "redis://all"
    own = load({"REDIS_URL": "redis://all", "PUSH_REDIS_URL": "redis://push"})
    assert (own.redis_url, own.push_log_url) == ("redis://all", "redis://push")


def test_a_blank_value_counts_as_missing() -> None:
    with pytest.raises(SettingsError, match="REDIS_URL is not set"):
        load({"REDIS_URL": "  "}, needs=["redis_url"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOLD_SECONDS", "s3cret"),
        ("HOLD_SECONDS", "0"),
        ("HOLD_SECONDS", "1.5"),
        ("HOLD_SECONDS", "-60"),
        ("REFUND_WINDOW_SECONDS", "-1"),
        ("DATABASE_POOL_SIZE", "99999999"),
        ("MAX_TICKETS_PER_ORDER", "0"),
        ("FEE_PERCENT", "s3cret"),
        ("FEE_PERCENT", "nan"),
        ("FEE_PERCENT", "-1"),
        ("FEE_PERCENT", "50.01"),
        ("PUSH_BACKEND", "s3cret"),
        ("PUSHER_PORT", "65536"),
        ("PUSHER_TLS", "s3cret"),
        ("RATE_LIMITS", "perhaps"),
        ("LOG_LEVEL", "s3cret"),
        ("STRIPE_PUBLISHABLE_KEY", "sk_live_s3cret"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_s3cret; script-src *"),
        ("STRIPE_SANDBOX_URL", "https://s3cret/ script-src *"),
    ],
)
def test_the_error_names_a_malformed_variable_and_not_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name) as refused:
        load({name: value})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("HOLD_SECONDS", "0", "HOLD_SECONDS must be an integer from 1 to 86400"),
        ("DRAIN_SECONDS", "x", "DRAIN_SECONDS must be a number from 0 to 600"),
        ("PUSH_BACKEND", "x", "PUSH_BACKEND must be gateway or pusher"),
        ("PUSHER_TLS", "x", "PUSHER_TLS must be true or false"),
        ("PUSHER_APP_ID", "x", "PUSHER_APP_ID must be a text that matches ^[0-9]+$"),
        ("FEE_PERCENT", "x", "FEE_PERCENT must be a number"),
        *(
            (
                "PUSH_ORIGINS",
                value,
                "PUSH_ORIGINS must be * or origins like https://example.com, by commas",
            )
            for value in ("x", "https://a.test/", "*,https://a.test", "null")
        ),
        *(
            ("PUSH_WEBHOOKS", value, "PUSH_WEBHOOKS must be http or https addresses, by commas")
            for value in ("x", "ftp://a.test/", "https://a.test/ b", "https://a.test,x", "https://")
        ),
    ],
)
def test_the_error_states_the_accepted_values(name: str, value: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({name: value})
    assert str(refused.value) == f"check the environment variables: {sentence}"


def test_every_malformed_value_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"HOLD_SECONDS.*PUSH_BACKEND"):
        load({"HOLD_SECONDS": "x", "PUSH_BACKEND": "y"})


def test_values_are_converted_to_their_types_and_others_keep_their_default() -> None:
    settings = load(
        {"HOLD_SECONDS": " 30 ", "FEE_PERCENT": "2.5", "PUSHER_TLS": "false", "UNRELATED": "x"}
    )
    assert (settings.hold_seconds, settings.fee_percent, settings.pusher_tls) == (
        30,
        Decimal("2.5"),
        False,
    )
    assert (settings.payment_grace_seconds, settings.max_tickets_per_order) == (60, 8)


@pytest.mark.parametrize("role", ROLES)
def test_a_service_uses_the_common_database_with_its_own_role(role: str) -> None:
    settings = load({"DATABASE_URL": DATABASE}, needs=[f"database:{role}"])
    assert (
        settings.role_database_url(role)
        == f"postgresql://gittix_{role}:s3cret@db.internal:5432/gittix?sslmode=require"
    )


def test_a_services_own_database_url_takes_precedence() -> None:
    own = "postgresql://somebody@elsewhere/db"
    settings = load(
        {"DATABASE_URL": DATABASE, "ORDERS_DATABASE_URL": own}, needs=["database:orders"]
    )
    assert settings.role_database_url("orders") == own
    assert settings.role_database_url("tickets") != own


def test_a_socket_url_without_a_password_keeps_its_host_parameter() -> None:
    assert (
        with_role("postgresql:///gittix?host=/run/pg", "r") == "postgresql://r@/gittix?host=/run/pg"
    )


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", {"https://shop.test"}),
        ("https://a.test, http://[::1]:80", {"https://a.test", "http://[::1]:80"}),
        ("*", None),
    ],
)
def test_sockets_are_open_to_the_shops_origins_or_those_of_a_setting(
    value: str, origins: set[str] | None
) -> None:
    settings = load({"PUBLIC_ORIGIN": "https://shop.test", "PUSH_ORIGINS": value})
    assert settings.push_socket_origins == origins


def test_webhooks_are_addresses_by_commas() -> None:
    settings = load({"PUSH_WEBHOOKS": "https://a.test/x?key=1, http://[::1]:8000"})
    assert settings.push_webhook_urls == ("https://a.test/x?key=1", "http://[::1]:8000")


def test_origins_are_the_public_and_the_allowed_ones() -> None:
    settings = load(
        {"PUBLIC_ORIGIN": "https://a.test", "ALLOWED_ORIGINS": " https://b.test, ,https://c.test"}
    )
    assert settings.origins == {"https://a.test", "https://b.test", "https://c.test"}
    assert settings.secure_cookies
    assert not load({}).secure_cookies


def test_a_live_key_is_refused_with_another_address_than_stripes() -> None:
    live = {"STRIPE_API_KEY": "sk_live_s3cret"}
    assert load(live).stripe_api_base == "https://api.stripe.com"
    with pytest.raises(
        SettingsError, match=r"STRIPE_API_BASE must be https://api\.stripe\.com"
    ) as refused:
        load(live | {"STRIPE_API_BASE": "http://stripe-sandbox:8002"})
    assert "s3cret" not in str(refused.value)
