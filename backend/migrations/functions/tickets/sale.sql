-- The payment is authorised: reserve the order's tickets, all or none, so that they no longer
-- expire. Returns whether they are reserved. A ticket may be reserved while its row names the order
-- as the holder, also after the hold has ended, and while its status is available and it is not
-- hidden: a late payment wins a ticket that no other order took. Once the sales of its show have
-- ended, only a hold that still runs counts; while its show is postponed or cancelled, none does.
-- Its price must still be the ordered one; the seller
-- may have changed it.
create function tickets.reserve(
    p_order uuid, p_tickets uuid[], p_prices bigint[], p_currency text
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
        select ((t.status = 'available' and not t.hidden)
                or (t.status = 'held' and t.order_id = p_order))
               and s.status = 'on_sale'
               and (coalesce(t.held_until > clock_timestamp(), false) or tickets.is_selling(
                   s.status, s.starts_at, s.sales_end_at, clock_timestamp()
               ))
               and t.price = w.price and t.currency = p_currency as ready
        from tickets.tickets t
        join unnest(p_tickets, p_prices) as w (id, price) on w.id = t.id
        join tickets.shows s on s.id = t.show_id
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
          and ((t.status = 'available' and not t.hidden)
               or (t.status = 'held' and t.order_id = p_order))
        returning t as ticket, tickets.handle_of(t.seller_id) as handle
    )
    insert into events.outbox (type, subject, version, data, correlation_id)
    select 'ticket.reserved', (ticket).id, (ticket).version, tickets.state(ticket, handle),
           events.correlation_id()
    from reserved order by (ticket).id;
    return true;
end
$$;

-- The payment is captured: sell the reserved tickets. Returns their number.
create function tickets.sell(p_order uuid, p_tickets uuid[]) returns int
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
        returning t as ticket, tickets.handle_of(t.seller_id) as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.sold', (ticket).id, (ticket).version, tickets.state(ticket, handle),
               events.correlation_id()
        from sold order by (ticket).id
    )
    select count(*) into v_sold from sold;
    return v_sold;
end
$$;

-- The order is refunded: with `p_relist`, list its sold tickets again, at their price and for their
-- seller, if the sales of their show have not ended; else withdraw them. Returns their number.
create function tickets.unsell(
    p_order uuid, p_tickets uuid[], p_relist boolean
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
        set status = case when r.relists then 'available' else 'withdrawn' end,
            claims_seat = t.claims_seat and r.relists, order_id = null, version = t.version + 1,
            updated_at = clock_timestamp()
        from tickets.shows s
        cross join lateral (
            select p_relist
                and tickets.is_selling(
                    s.status, s.starts_at, s.sales_end_at, clock_timestamp()
                ) as relists
        ) r
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = 'sold'
          and s.id = t.show_id
        returning t as ticket, tickets.handle_of(t.seller_id) as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select case (ticket).status when 'available' then 'ticket.released'
                                    else 'ticket.withdrawn' end,
               (ticket).id, (ticket).version, tickets.state(ticket, handle, p_order, true),
               events.correlation_id()
        from unsold order by (ticket).id
    )
    select count(*) into v_unsold from unsold;
    return v_unsold;
end
$$;

grant execute on function tickets.reserve, tickets.sell to gittix_orders;
