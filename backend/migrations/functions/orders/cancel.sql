-- Cancel an unpaid order of this buyer before its hold ends. Returns done, not_found, or the status
-- that forbids it.
create function orders.cancel(p_order uuid, p_buyer uuid) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_status text;
begin
    select orders.effective_status(o, clock_timestamp()) into v_status
    from orders.orders o where o.id = p_order and o.buyer_id = p_buyer;
    if v_status is null then
        return 'not_found';
    end if;
    if v_status not in ('pending', 'awaiting_payment') then
        return v_status;
    end if;
    perform events.act_for(p_buyer);
    perform tickets.release(p_order, orders.tickets_of(p_order));
    if orders.close(array[p_order], 'cancelled') <> array[p_order] then
        -- A payment or the expiry changed the order between the read and the locks.
        perform orders.raise_error('stale');
    end if;
    -- A shorter hold counts as 10 seconds, which limits holding and cancelling without a pause.
    perform orders.give_hold_back(o, greatest(o.updated_at, o.created_at + interval '10 seconds'))
    from orders.orders o where o.id = p_order;
    return 'done';
exception when sqlstate 'GT001' then
    select o.status into v_status from orders.orders o where o.id = p_order;
    return v_status;
end
$$;

-- Close unpaid orders as `p_status`, cancelled or expired, and append their events. The caller has
-- released their tickets, because tickets are locked before orders. Returns the closed ids.
create function orders.close(p_orders uuid[], p_status text) returns uuid[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan made for a few rows must not run for a thousand
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_closed uuid[] := array(
        select o.id from orders.orders o
        where o.id = any (p_orders) and o.status in ('pending', 'awaiting_payment')
        order by o.id
        for no key update
    );
begin
    with closed as (
        update orders.orders o
        set status = p_status, version = o.version + 1, updated_at = clock_timestamp()
        where o.id = any (v_closed) and o.status in ('pending', 'awaiting_payment')
        returning o as state
    ), ended as (
        update orders.lines l set live = false where l.order_id = any (v_closed) returning l
    ), lines as (
        select (l).order_id, json_agg(orders.line(l) order by (l).ticket_id) as state
        from ended group by (l).order_id
    )
    insert into events.outbox (type, subject, version, data, correlation_id)
    select 'order.' || p_status, lines.order_id, (closed.state).version,
           orders.state(closed.state, lines.state), events.correlation_id()
    from closed join lines on lines.order_id = (closed.state).id
    order by lines.order_id;
    return v_closed;
end
$$;

grant execute on function orders.cancel, orders.close to gittix_orders;
