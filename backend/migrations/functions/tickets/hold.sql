-- Holds. Only the functions in this folder write a ticket's `status`, `order_id` and `held_until`:
-- no role has the right (`grants.sql`). Each function names the order that it expects to hold the
-- ticket, so a stale caller changes nothing. Tickets are locked in id order, everywhere, and before
-- orders. The caller passes the tickets of an order, which are on its lines, because no index leads
-- from an order to its tickets (decision 22).
--
-- Decision 28 gives the reasons of the planner settings.

-- Hold all tickets of `p_tickets` for an order until `p_until`, or none of them.
--
-- `outcome` is held, or a refusal: ticket_not_found, own_ticket, sales_ended, mixed_currency,
-- ticket_unavailable. An expired hold is taken over. For this, `outcome` is displaces and
-- `displaced` has the orders that would lose their holds; the caller calls again with these
-- orders as `p_displaced` and all their tickets as `p_beside`, which this function then locks in
-- id order with the others, so that the caller can release them. On success, `held` has the rows
-- of the tickets. Their hold ends before `p_until` if the sales of one of their shows do.
--
-- A ticket that the owner of its show has hidden is unavailable.
--
-- A read without locks refuses first, so a buyer never waits for a ticket that is already taken.
-- A buyer with a chance waits at most 100 ms for a lock, since the transaction that has it probably
-- takes the ticket; then lock_not_available is raised. SKIP LOCKED would refuse at once, although
-- that transaction may still roll back.
create function tickets.hold(
    p_order uuid, p_buyer uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[],
    p_beside uuid[],
    out outcome text, out refused uuid, out refused_until timestamptz, out displaced uuid[],
    out held tickets.tickets[]
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '100ms'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_found record := case cardinality(p_tickets)
        when 1 then tickets.check_one(p_tickets[1], p_buyer, v_now)
        else tickets.check_free(p_tickets, p_buyer, v_now)
    end;
    v_actor text;
begin
    outcome := case
        when v_found.outcome is not null then v_found.outcome
        when v_found.displaced is not null and p_displaced is null then 'displaces'
    end;
    if outcome is not null then
        refused := v_found.refused;
        refused_until := v_found.refused_until;
        displaced := v_found.displaced;
        return;
    end if;
    p_until := least(p_until, v_found.sales_end_at);
    -- One ticket is locked by its update; several are locked first, in id order.
    if cardinality(p_tickets) > 1 or p_displaced is not null then
        v_found := tickets.lock_free(p_tickets, p_displaced, p_beside, v_now);
        if v_found.outcome is not null then
            outcome := v_found.outcome;
            refused := v_found.refused;
            refused_until := v_found.refused_until;
            return;
        end if;
    end if;
    v_actor := events.act_for(p_buyer);
    held := tickets.set_held(p_order, p_tickets, p_until, p_displaced, v_now);
    if held is not null then
        outcome := 'held';
        displaced := p_displaced;
        return;
    end if;
    outcome := 'ticket_unavailable';
    refused := p_tickets[1];
    select t.held_until into refused_until
    from tickets.tickets t where t.id = refused and t.status = 'held';
end
$$;

-- Move the end of a hold that still runs. Returns the number of tickets; fewer than the order has
-- means that the hold has ended.
create function tickets.extend(
    p_order uuid, p_tickets uuid[], p_until timestamptz
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_extended int;
begin
    perform tickets.lock_held(p_order, p_tickets);
    with extended as (
        update tickets.tickets t
        set held_until = p_until, version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = 'held'
          and t.held_until > clock_timestamp()
        returning t as ticket, tickets.handle_of(t.seller_id) as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.extended', (ticket).id, (ticket).version, tickets.state(ticket, handle),
               events.correlation_id()
        from extended order by (ticket).id
    )
    select count(*) into v_extended from extended;
    return v_extended;
end
$$;

-- Lock the tickets that the order has, in id order. A step of other functions.
create function tickets.lock_held(p_order uuid, p_tickets uuid[]) returns void
language plpgsql
as $$
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
end
$$;

grant execute on function tickets.hold, tickets.extend to gittix_orders;

-- The functions below are steps of `tickets.hold`: they run with its rights and its settings.

-- Read the tickets without locks. `outcome` is null or a refusal, with the refused ticket and the
-- end of its hold; `displaced` has the orders of the expired holds. `sales_end_at` is the first end
-- of sales of the tickets' shows.
create function tickets.check_free(
    p_tickets uuid[], p_buyer uuid, p_now timestamptz,
    out outcome text, out refused uuid, out refused_until timestamptz, out displaced uuid[],
    out sales_end_at timestamptz
)
language plpgsql
as $$
declare
    v_found int;
    v_mixed boolean;
    v_own uuid;
    v_ended uuid;
begin
    select count(*),
           min(t.currency) <> max(t.currency),
           (array_agg(t.id) filter (where t.seller_id = p_buyer))[1],
           (array_agg(t.id) filter (
               where not tickets.is_selling(s.status, s.starts_at, s.sales_end_at, p_now)
           ))[1],
           min(coalesce(s.sales_end_at, s.starts_at)),
           (array_agg(t.id) filter (
               where t.hidden or not tickets.is_free(t.status, t.held_until, p_now)
           ))[1],
           min(t.held_until) filter (where t.status = 'held' and t.held_until > p_now),
           array_agg(t.order_id) filter (where t.status = 'held' and t.held_until <= p_now)
    into v_found, v_mixed, v_own, v_ended, sales_end_at, refused, refused_until, displaced
    from tickets.tickets t join tickets.shows s on s.id = t.show_id
    where t.id = any (p_tickets);

    outcome := case
        when v_found < cardinality(p_tickets) then 'ticket_not_found'
        when v_own is not null then 'own_ticket'
        when v_ended is not null then 'sales_ended'
        when refused is not null then 'ticket_unavailable'
        when v_mixed then 'mixed_currency'
    end;
    if outcome is not null then
        refused := case outcome when 'sales_ended' then v_ended else coalesce(refused, v_own) end;
        displaced := null;
    end if;
end
$$;

-- The same for one ticket, as in most orders. Preparing the aggregates of `tickets.check_free`
-- takes longer than this statement.
create function tickets.check_one(
    p_ticket uuid, p_buyer uuid, p_now timestamptz,
    out outcome text, out refused uuid, out refused_until timestamptz, out displaced uuid[],
    out sales_end_at timestamptz
)
language plpgsql
as $$
begin
    select case
               when t.seller_id = p_buyer then 'own_ticket'
               when not tickets.is_selling(s.status, s.starts_at, s.sales_end_at, p_now)
                   then 'sales_ended'
               when t.hidden or not tickets.is_free(t.status, t.held_until, p_now)
                   then 'ticket_unavailable'
           end,
           t.id, case when t.held_until > p_now then t.held_until end,
           case when t.status = 'held' then array[t.order_id] end,
           coalesce(s.sales_end_at, s.starts_at)
    into outcome, refused, refused_until, displaced, sales_end_at
    from tickets.tickets t join tickets.shows s on s.id = t.show_id
    where t.id = p_ticket;
    if not found then
        outcome := 'ticket_not_found';
    elsif outcome is not null then
        displaced := null;
    end if;
end
$$;

-- Lock the tickets and those beside them in id order, and check them again: between the read and
-- the locks another buyer may have won. An expired hold always belongs to an order of
-- `p_displaced`, since a new hold ends in the future. `outcome` is null or a refusal.
create function tickets.lock_free(
    p_tickets uuid[], p_displaced uuid[], p_beside uuid[], p_now timestamptz,
    out outcome text, out refused uuid, out refused_until timestamptz
)
language plpgsql
as $$
declare
    v_mixed boolean;
begin
    select (array_agg(l.id) filter (where not l.free))[1],
           min(l.held_until) filter (where not l.free),
           min(l.currency) filter (where l.wanted) <> max(l.currency) filter (where l.wanted)
    into refused, refused_until, v_mixed
    from (
        select t.id, t.held_until, t.currency, t.id = any (p_tickets) as wanted,
               not t.id = any (p_tickets)
               or (not t.hidden
                   and (t.status = 'available'
                        or (t.status = 'held' and t.held_until <= p_now
                            and coalesce(t.order_id = any (p_displaced), false)))) as free
        from tickets.tickets t
        where t.id = any (p_tickets || p_beside)
          and (t.id = any (p_tickets) or t.order_id = any (p_displaced))
        order by t.id
        for no key update
    ) l;
    outcome := case
        when refused is not null then 'ticket_unavailable' when v_mixed then 'mixed_currency'
    end;
end
$$;

-- The guarded update. Returns the held tickets in id order, or null when another transaction was
-- faster.
create function tickets.set_held(
    p_order uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[], p_now timestamptz
) returns tickets.tickets[]
language plpgsql
as $$
declare
    v_held tickets.tickets[];
begin
    with taken as (
        update tickets.tickets t
        set status = 'held', order_id = p_order, held_until = p_until, version = t.version + 1,
            updated_at = p_now
        where t.id = any (p_tickets) and not t.hidden
          and (
              t.status = 'available'
              or (t.status = 'held' and t.held_until <= p_now and t.order_id = any (p_displaced))
          )
        returning t.id, t.version, t as ticket, coalesce((
            select s.handle from tickets.sellers s where s.id = t.seller_id
        ), '') as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.held', taken.id, taken.version,
               tickets.state(taken.ticket, taken.handle), events.correlation_id()
        from taken order by taken.id
    )
    select array_agg(taken.ticket order by taken.id) into v_held from taken;
    return v_held;
end
$$;
