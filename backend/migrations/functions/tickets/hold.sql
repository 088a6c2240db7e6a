-- Take every ticket of `p_tickets` for an order until `p_until`, or none.
--
-- `outcome` is held, or the reason why not: ticket_not_found, own_ticket, mixed_currency, ticket_unavailable. A hold
-- past its time is taken over: for that, `outcome` is displaces and `displaced` names the orders that would lose it, and
-- the caller asks again with these as `p_displaced` and their tickets as `p_beside`, which are locked here too (in the
-- same id order) for the caller to release. The refusal comes from a plain read, so a buyer who cannot win waits
-- for no lock; who may win waits 100 ms at the most (lock_not_available), since whoever holds the lock is taking the
-- ticket. SKIP LOCKED would refuse while the other transaction may still roll back.
create function tickets.hold(
    p_order uuid, p_buyer uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[], p_beside uuid[],
    p_correlation uuid,
    out outcome text, out refused uuid, out refused_until timestamptz, out displaced uuid[], out held tickets.tickets[]
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

-- Move the end of a hold that is still running. Returns how many tickets; fewer than the order has means: too late.
create function tickets.extend(
    p_order uuid, p_tickets uuid[], p_until timestamptz, p_correlation uuid
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

grant execute on function tickets.hold, tickets.extend to gittix_orders;
