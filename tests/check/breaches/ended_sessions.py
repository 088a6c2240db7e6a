"""I16: ends of sessions that no process learns, and sessions that go on after their end."""

from tests.check.breaches.breach import Breach, sql

USER = """
    insert into auth.users (email, name, password_hash) values ('ada@example.com', 'Ada', 'x')
"""
SESSION = "insert into auth.sessions (user_id) select id from auth.users"
END = "update auth.sessions set revoked_at = clock_timestamp()"

BREACHES = [
    Breach(
        "I16",
        "an end is not recorded",
        sql(USER, SESSION, "alter table auth.sessions disable trigger record_end", END),
        "its end is not recorded",
    ),
    Breach(
        "I16",
        "an end is recorded late",
        sql(
            USER,
            SESSION,
            END,
            "update auth.ended_sessions set ended_at = ended_at + interval '1 minute'",
        ),
        "its end was recorded at",
    ),
    Breach(
        "I16",
        "a session goes on after its end",
        sql(USER, SESSION, END, "update auth.sessions set revoked_at = null"),
        "but the session goes on",
    ),
    Breach(
        "I16",
        "an ended session is refreshed",
        sql(
            USER,
            SESSION,
            END,
            "insert into auth.refresh_tokens (hash, session_id, issued_at, expires_at)"
            " select sha256(id::text::bytea), id, now() + interval '1 minute',"
            " now() + interval '1 day'"
            " from auth.sessions",
        ),
        "got a refresh token at",
    ),
]
