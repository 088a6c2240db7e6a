"""Invariant I16: ended sessions.

Every process reads the recorded ends within a second, refuses the session's tokens and closes its
sockets. So each end must be recorded, and no credential may be issued after it.
"""

from backend.check.result import LATE, MARGIN, Result
from backend.check.snapshot import Snapshot

DESCRIPTION = (
    "the end of every session is recorded for all processes, and no ended session has a newer"
    " refresh token"
)

COUNT_SQL = "select (select count(*) from auth.sessions where revoked_at is not null)"

# Recorded ends are kept for two days.
VIOLATIONS = f"""
    select format('session %s ended at %s, and its end is not recorded', s.id, s.revoked_at)
    from auth.sessions s
    where s.revoked_at > now() - interval '1 day'
      and not exists (select from auth.ended_sessions e where e.session_id = s.id)
    union all
    select format('session %s ended at %s, and its end was recorded at %s', s.id, s.revoked_at,
        e.ended_at)
    from auth.sessions s join auth.ended_sessions e on e.session_id = s.id
    where e.ended_at > s.revoked_at + {LATE}
    union all
    select format('the end of session %s is recorded, but the session goes on', s.id)
    from auth.sessions s join auth.ended_sessions e on e.session_id = s.id
    where s.revoked_at is null
    union all
    select format('session %s ended at %s and got a refresh token at %s', s.id, s.revoked_at,
        t.issued_at)
    from auth.sessions s join auth.refresh_tokens t on t.session_id = s.id
    where t.issued_at > s.revoked_at + {MARGIN}
"""


async def check(snapshot: Snapshot, result: Result) -> None:
    await result.run(snapshot.connection, COUNT_SQL, VIOLATIONS)
