-- The owner of a show may postpone it, put it on sale again with a new date, or cancel it. While it
-- is postponed or cancelled, no ticket of it is listed, held or paid for. A cancelled show stays
-- so: a worker withdraws its tickets and returns its money.

create or replace function tickets.check_show_status() returns trigger
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    perform events.refuse_transition('shows', old.status, new.status);
    return new;
end
$$;

-- All tickets of a show. No index has the hidden and the other tickets.
create function tickets.of_show(p_show uuid) returns setof tickets.tickets
language sql stable
begin atomic
    select t.* from tickets.tickets t where t.show_id = p_show and not t.hidden
    union all
    select t.* from tickets.tickets t where t.show_id = p_show and t.hidden;
end;

-- Withdraw up to `p_limit` tickets of cancelled shows that no order has, and record that a show is
-- wound up when it has no other tickets. Returns the number of withdrawn tickets. A ticket whose
-- hold still runs is withdrawn after it, and a sold one when its money is returned.
create function tickets.withdraw_cancelled(p_limit int) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_free uuid[] := array(
        select t.id from tickets.shows s cross join lateral tickets.of_show(s.id) t
        where s.status = 'cancelled' and s.wound_up_at is null
          and tickets.is_free(t.status, t.held_until, clock_timestamp())
        limit p_limit
    );
    v_withdrawn int;
begin
    perform events.act_for(null);
    with locked as materialized (
        select t.id from tickets.tickets t
        where t.id = any (v_free) and tickets.is_free(t.status, t.held_until, clock_timestamp())
        order by t.id for no key update skip locked
    ), withdrawn as (
        update tickets.tickets t
        set status = 'withdrawn', claims_seat = false, order_id = null, held_until = null,
            version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (array(select locked.id from locked))
        returning t as ticket, tickets.handle_of(t.seller_id) as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.withdrawn', (ticket).id, (ticket).version, tickets.state(ticket, handle),
               events.correlation_id()
        from withdrawn order by (ticket).id
    )
    select count(*) into v_withdrawn from withdrawn;
    update tickets.shows s set wound_up_at = clock_timestamp()
    where s.status = 'cancelled' and s.wound_up_at is null and not exists (
        select from tickets.of_show(s.id) t where t.status <> 'withdrawn'
    );
    return v_withdrawn;
end
$$;
grant execute on function tickets.withdraw_cancelled to gittix_tickets;
