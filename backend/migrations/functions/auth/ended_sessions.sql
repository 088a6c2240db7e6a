-- Record the end of a session, by whichever statement it ends. A deleted session without a valid
-- refresh token has expired and is not recorded: its access tokens have expired too, and a gateway
-- closes sockets at the end of their session.
create or replace function auth.record_end() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if tg_op = 'UPDATE' or exists (
        select from auth.refresh_tokens t
        where t.session_id = old.id and t.expires_at > clock_timestamp()
    ) then
        insert into auth.ended_sessions (session_id) values (old.id) on conflict do nothing;
    end if;
    return old;
end
$$;

-- The sessions that ended in transactions which a read that returned `p_since` as its `next` did
-- not see; without `p_since`, those of the last `p_window`. At most `p_limit`, the newest.
create function auth.ended_since(
    p_since xid8, p_window interval, p_limit int,
    out next xid8, out read_at timestamptz, out session_ids uuid[], out ended_at timestamptz[]
)
-- Stable: all statements use the snapshot of the caller's statement.
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $$
begin
    next := pg_snapshot_xmin(pg_current_snapshot());
    read_at := clock_timestamp();
    if p_since is null then
        select array_agg(e.session_id), array_agg(e.ended_at) into session_ids, ended_at
        from (
            select s.session_id, s.ended_at from auth.ended_sessions s
            where s.ended_at > read_at - p_window order by s.ended_at desc limit p_limit
        ) e;
    else
        -- Materialized, so that the rows are found by their transaction.
        with fresh as materialized (
            select s.session_id, s.ended_at from auth.ended_sessions s where s.xid >= p_since
        )
        select array_agg(e.session_id), array_agg(e.ended_at) into session_ids, ended_at
        from (
            select f.session_id, f.ended_at from fresh f order by f.ended_at desc limit p_limit
        ) e;
    end if;
end
$$;
grant execute on function auth.ended_since
to gittix_auth, gittix_tickets, gittix_orders, gittix_payments, gittix_push;
