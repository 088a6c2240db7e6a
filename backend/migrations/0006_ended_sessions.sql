-- The ends of sessions. Every process that verifies access tokens or serves sockets reads them
-- several times a second. Triggers on `auth.sessions` write the rows.
create table auth.ended_sessions (
    session_id uuid not null,
    ended_at timestamptz not null default clock_timestamp(),
    -- The transaction that ended the session. A reader continues at the oldest transaction that was
    -- still open at its last read, so it misses no row however late its transaction commits.
    xid xid8 not null default pg_current_xact_id(),
    constraint ended_sessions_pkey primary key (session_id)
);
create index ended_sessions_xid on auth.ended_sessions (xid);
create index ended_sessions_ended_at on auth.ended_sessions (ended_at);

insert into auth.ended_sessions (session_id, ended_at)
select id, revoked_at from auth.sessions where revoked_at > now() - interval '1 day';

-- For `auth.ended_since` only; the roles have no rights on the tables of this schema.
grant usage on schema auth to gittix_tickets, gittix_orders, gittix_payments, gittix_push;
