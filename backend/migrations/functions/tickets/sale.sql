-- The order's payment is authorised: take its tickets off the clock, all or none. A ticket is the order's while it
-- holds it, past its time as well, and when it is free: money that came late wins what nobody else took, at the price
-- that it was ordered at, unless its seller has changed that since.
create function tickets.reserve(
    p_order uuid, p_tickets uuid[], p_prices bigint[], p_currency text, p_correlation uuid
) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
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
create function tickets.sell(p_order uuid, p_tickets uuid[], p_correlation uuid) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
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
create function tickets.unsell(
    p_order uuid, p_tickets uuid[], p_relist boolean, p_correlation uuid
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
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

grant execute on function tickets.reserve, tickets.sell to gittix_orders;
