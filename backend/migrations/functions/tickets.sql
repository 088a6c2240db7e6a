-- The only writers of a ticket's hold. Each names the order that it expects to hold the ticket, so a stale caller
-- changes nothing. Tickets are locked in id order, everywhere.
--
-- `p_tickets` beside an order are those on its lines. No index leads from an order to its tickets, or from a time to the
-- holds that end then: a column that no index knows changes without a word to any of them, and these change all the time.

-- What counts is the row's time: a hold past it reads as available.
create or replace function tickets.effective_status(p_status text, p_held_until timestamptz, p_now timestamptz)
returns text
language sql immutable parallel safe
return case when p_status = 'held' and p_held_until <= p_now then 'available' else p_status end;

create or replace function tickets.is_free(p_status text, p_held_until timestamptz, p_now timestamptz) returns boolean
language sql immutable parallel safe
return p_status = 'available' or (p_status = 'held' and p_held_until <= p_now);

-- The `data` of a ticket's events. `p_previous` is the order that the ticket has just left.
create or replace function tickets.state(
    t tickets.tickets, p_previous uuid default null, p_refunded boolean default false
) returns json
language sql stable parallel safe
return json_build_object(
    'id', t.id, 'show_id', t.show_id, 'seller_id', t.seller_id, 'seller_name', t.seller_name, 'status', t.status,
    'title', t.title, 'section', t.section, 'row', t."row", 'seat', t.seat, 'price', t.price,
    'face_value', t.face_value, 'currency', t.currency, 'order_id', t.order_id, 'held_until', t.held_until,
    'version', t.version, 'created_at', t.created_at, 'previous_order_id', p_previous, 'refunded', p_refunded
);

-- Live counts of a show. `version` is the sum of its parts' versions, so it grows with each change of any of them and
-- no row is shared by all the show's buyers. A show has tickets of one currency as a rule; else the commonest counts.
-- `next_free_at` is when the first of its holds ends, should it end unpaid.
create or replace function tickets.availability(
    p_show uuid, out available int, out held int, out sold int, out from_price bigint, out currency text,
    out next_free_at timestamptz, out version bigint
)
language sql stable
as $$
    select coalesce(sum(free), 0)::int,
           coalesce(sum(taken), 0)::int,
           coalesce(sum(gone), 0)::int,
           (array_agg(lowest order by free desc, code))[1],
           (array_agg(code order by free desc, code))[1],
           min(soonest),
           (select s.version from tickets.shows s where s.id = p_show) + coalesce(sum(versions), 0)::bigint
    from (
        select t.currency as code,
               count(*) filter (where tickets.is_free(t.status, t.held_until, now())) as free,
               count(*) filter (where t.status = 'reserved' or t.status = 'held' and t.held_until > now()) as taken,
               count(*) filter (where t.status = 'sold') as gone,
               min(t.price) filter (where tickets.is_free(t.status, t.held_until, now())) as lowest,
               min(t.held_until) filter (where t.status = 'held' and t.held_until > now()) as soonest,
               sum(t.version) as versions
        from tickets.tickets t
        where t.show_id = p_show
        group by t.currency
    ) by_currency
$$;

-- Take every ticket of `p_tickets` for an order until `p_until`, or none.
--
-- `outcome` is held, or the reason why not: ticket_not_found, own_ticket, mixed_currency, ticket_unavailable. A hold
-- past its time is taken over: for that, `outcome` is displaces and `displaced` names the orders that would lose it, and
-- the caller asks again with these as `p_displaced` and their tickets as `p_beside`, which are locked here too (in the
-- same id order) for the caller to release. The refusal comes from a plain read, so a buyer who cannot win waits
-- for no lock; who may win waits 100 ms at the most (lock_not_available), since whoever holds the lock is taking the
-- ticket. SKIP LOCKED would refuse while the other transaction may still roll back.
create or replace function tickets.hold(
    p_order uuid, p_buyer uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[], p_beside uuid[],
    p_correlation uuid,
    out outcome text, out refused uuid, out refused_until timestamptz, out displaced uuid[], out held tickets.tickets[]
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_found int;
    v_mixed boolean;
    v_own uuid;
begin
    select count(*),
           min(t.currency) <> max(t.currency),
           (array_agg(t.id) filter (where t.seller_id = p_buyer))[1],
           (array_agg(t.id) filter (where not tickets.is_free(t.status, t.held_until, v_now)))[1],
           min(t.held_until) filter (where t.status = 'held' and t.held_until > v_now),
           array_agg(t.order_id) filter (where t.status = 'held' and t.held_until <= v_now)
    into v_found, v_mixed, v_own, refused, refused_until, displaced
    from tickets.tickets t
    where t.id = any (p_tickets);

    outcome := case
        when v_found < cardinality(p_tickets) then 'ticket_not_found'
        when v_own is not null then 'own_ticket'
        when refused is not null then 'ticket_unavailable'
        when v_mixed then 'mixed_currency'
    end;
    if outcome is not null then
        refused := coalesce(refused, v_own);
        displaced := null;
        return;
    end if;
    if displaced is not null and p_displaced is null then
        outcome := 'displaces';
        return;
    end if;
    displaced := p_displaced;

    -- Between the read and the locks another buyer may have won, so whoever has the locks looks again. One row is locked
    -- by its update; several are locked first, in id order. A hold that is past its time and yet belongs to no order of
    -- `displaced` cannot be: a new hold starts in the future.
    if cardinality(p_tickets) > 1 or displaced is not null then
        select (array_agg(l.id) filter (where not l.mine))[1],
               min(l.held_until) filter (where not l.mine),
               min(l.currency) filter (where l.id = any (p_tickets)) <> max(l.currency) filter (where l.id = any (p_tickets))
        into refused, refused_until, v_mixed
        from (
            select t.id, t.held_until, t.currency,
                   not t.id = any (p_tickets) or t.status = 'available'
                   or (t.status = 'held' and t.held_until <= v_now and coalesce(t.order_id = any (displaced), false)) as mine
            from tickets.tickets t
            where t.id = any (p_tickets || p_beside) and (t.id = any (p_tickets) or t.order_id = any (displaced))
            order by t.id
            for no key update
        ) l;
        outcome := case when refused is not null then 'ticket_unavailable' when v_mixed then 'mixed_currency' end;
        if outcome is not null then
            displaced := null;
            return;
        end if;
    end if;

    perform events.act_for(p_buyer, p_correlation);
    with taken as (
        update tickets.tickets t
        set status = 'held', order_id = p_order, held_until = p_until, version = t.version + 1, updated_at = v_now
        where t.id = any (p_tickets)
          and (t.status = 'available' or (t.status = 'held' and t.held_until <= v_now and t.order_id = any (displaced)))
        returning t as ticket
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.held', (ticket).id, (ticket).version, tickets.state(ticket), p_correlation
        from taken order by (ticket).id
    )
    select array_agg(taken.ticket) into held from taken;

    if held is not null then
        outcome := 'held';
        return;
    end if;
    outcome := 'ticket_unavailable';
    displaced := null;
    refused := p_tickets[1];
    select t.held_until into refused_until from tickets.tickets t where t.id = refused and t.status = 'held';
end
$$;

-- Free the tickets that this order has in one of the states `p_from`. Returns how many.
create or replace function tickets.release(
    p_order uuid, p_tickets uuid[], p_correlation uuid, p_from text[] default array['held']
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_released int;
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
    with freed as (
        update tickets.tickets t
        set status = 'available', order_id = null, held_until = null, version = t.version + 1,
            updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = any (p_from)
        returning t as ticket
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.released', (ticket).id, (ticket).version,
               tickets.state(ticket, p_order), p_correlation
        from freed order by (ticket).id
    )
    select count(*) into v_released from freed;
    return v_released;
end
$$;

-- Move the end of a hold that is still running. Returns how many tickets; fewer than the order has means: too late.
create or replace function tickets.extend(
    p_order uuid, p_tickets uuid[], p_until timestamptz, p_correlation uuid
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_extended int;
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
    with extended as (
        update tickets.tickets t
        set held_until = p_until, version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = 'held' and t.held_until > clock_timestamp()
        returning t as ticket
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.extended', (ticket).id, (ticket).version, tickets.state(ticket), p_correlation
        from extended order by (ticket).id
    )
    select count(*) into v_extended from extended;
    return v_extended;
end
$$;

-- The order's payment is authorised: take its tickets off the clock, all or none. A ticket is the order's while it
-- holds it, past its time as well, and when it is free: money that came late wins what nobody else took, at the price
-- that it was ordered at, unless its seller has changed that since.
create or replace function tickets.reserve(
    p_order uuid, p_tickets uuid[], p_prices bigint[], p_currency text, p_correlation uuid
) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_ready int;
begin
    select count(*) filter (where l.ready) into v_ready
    from (
        select (t.status = 'available' or (t.status = 'held' and t.order_id = p_order))
               and t.price = w.price and t.currency = p_currency as ready
        from tickets.tickets t join unnest(p_tickets, p_prices) as w (id, price) on w.id = t.id
        order by t.id
        for no key update of t
    ) l;
    if v_ready < cardinality(p_tickets) then
        return false;
    end if;
    with reserved as (
        update tickets.tickets t
        set status = 'reserved', order_id = p_order, held_until = null, version = t.version + 1,
            updated_at = clock_timestamp()
        where t.id = any (p_tickets)
          and (t.status = 'available' or (t.status = 'held' and t.order_id = p_order))
        returning t as ticket
    )
    insert into events.outbox (type, subject, version, data, correlation_id)
    select 'ticket.reserved', (ticket).id, (ticket).version, tickets.state(ticket), p_correlation
    from reserved order by (ticket).id;
    return true;
end
$$;

-- The order's payment is captured. Returns how many tickets are sold to it by this call.
create or replace function tickets.sell(p_order uuid, p_tickets uuid[], p_correlation uuid) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_sold int;
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
    with sold as (
        update tickets.tickets t
        set status = 'sold', version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = 'reserved'
        returning t as ticket
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.sold', (ticket).id, (ticket).version, tickets.state(ticket), p_correlation
        from sold order by (ticket).id
    )
    select count(*) into v_sold from sold;
    return v_sold;
end
$$;

-- An order's sold tickets leave it: free again at their price under their old seller, or withdrawn. Returns how many.
create or replace function tickets.unsell(
    p_order uuid, p_tickets uuid[], p_relist boolean, p_correlation uuid
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unsold int;
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
    with unsold as (
        update tickets.tickets t
        set status = case when p_relist then 'available' else 'withdrawn' end, order_id = null,
            version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = 'sold'
        returning t as ticket
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select case when p_relist then 'ticket.released' else 'ticket.withdrawn' end, (ticket).id, (ticket).version,
               tickets.state(ticket, p_order, true), p_correlation
        from unsold order by (ticket).id
    )
    select count(*) into v_unsold from unsold;
    return v_unsold;
end
$$;

-- Free the tickets of these orders whose time is up, whole orders only: `p_orders` has an order for each of `p_tickets`.
-- `released` are the orders that lost theirs; `bare` those that had none of them any more.
--
-- Re-entrant and set-based: rows that another transaction has locked are skipped, with their whole order, since that
-- transaction is deciding about them; the next call finds what it left.
create or replace function tickets.release_due(
    p_orders uuid[], p_tickets uuid[], p_correlation uuid, out released uuid[], out bare uuid[]
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan for few rows must not meet a thousand
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_whole uuid[];
begin
    with theirs as (
        select t.order_id, count(*) as tickets
        from tickets.tickets t join unnest(p_orders, p_tickets) w (order_id, id) using (order_id, id)
        where t.id = any (p_tickets)
        group by t.order_id
    ), locked as materialized (
        select t.order_id, t.id
        from tickets.tickets t join unnest(p_orders, p_tickets) w (order_id, id) using (order_id, id)
        where t.id = any (p_tickets) and t.status = 'held' and t.held_until <= v_now
        order by t.id
        for no key update of t skip locked
    )
    select array_agg(l.id), array(select unnest(p_orders) except select theirs.order_id from theirs) into v_whole, bare
    from (select locked.order_id, locked.id, count(*) over (partition by locked.order_id) as tickets from locked) l
    join theirs using (order_id, tickets);

    with freed as (
        update tickets.tickets t
        set status = 'available', order_id = null, held_until = null, version = t.version + 1,
            updated_at = clock_timestamp()
        where t.id = any (v_whole)
        returning old.order_id as order_id, new as ticket
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.released', (ticket).id, (ticket).version, tickets.state(ticket, freed.order_id), p_correlation
        from freed order by (ticket).id
    )
    select coalesce(array_agg(distinct freed.order_id), '{}') into released from freed;
end
$$;

grant execute on function tickets.effective_status, tickets.is_free, tickets.state, tickets.availability
to gittix_tickets;
grant execute on function
    tickets.hold, tickets.release, tickets.extend, tickets.reserve, tickets.sell, tickets.release_due
to gittix_orders;

-- These functions look rows up by id, in arrays whose length a generic plan can't know; left to itself Postgres prefers
-- to plan them anew at each call, which costs twice what running them does. And they are look-ups by index at any size:
-- a plan that was made while a table was small must not outlive it, nor one that reads another index's thousands as well.
do $$
declare
    f regproc;
begin
    foreach f in array array[
        'tickets.hold', 'tickets.release', 'tickets.extend', 'tickets.reserve', 'tickets.sell', 'tickets.unsell',
        'tickets.release_due'
    ]::regproc[] loop
        execute format('alter function %s set plan_cache_mode = force_generic_plan', f);
        execute format('alter function %s set enable_seqscan = off', f);
        execute format('alter function %s set enable_bitmapscan = off', f);
    end loop;
end
$$;
