-- A refund of the whole order begins: completed → refund_pending. `outcome` is ok with payment, amount and currency;
-- not_found; other_sellers: a seller may refund only what is all theirs; refunded (with the same as ok), in_progress,
-- not_refundable, with the order's status; relist_not_allowed, not_allowed: what a buyer may not.
create function orders.begin_refund(
    p_order uuid, p_refund uuid, p_user uuid, p_buyer_may boolean, p_relist boolean, p_correlation uuid,
    out outcome text, out order_status text, out payment uuid, out amount bigint, out currency text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
    v_lines bigint;
    v_own bigint;
begin
    select count(*), count(*) filter (where l.seller_id = p_user) into v_lines, v_own
    from orders.lines l where l.order_id = p_order;
    select * into v_order from orders.orders o
    where o.id = p_order and (o.buyer_id = p_user or v_own > 0);
    order_status := v_order.status;
    payment := v_order.payment_id;
    amount := v_order.total;
    currency := v_order.currency;
    outcome := case
        when v_order.id is null then 'not_found'
        when v_order.buyer_id <> p_user and v_own < v_lines then 'other_sellers'
        when v_order.status = 'refunded' then 'refunded'
        when v_order.status = 'refund_pending' then 'in_progress'
        when v_order.status <> 'completed' then 'not_refundable'
        when v_order.buyer_id = p_user and p_relist then 'relist_not_allowed'
        when v_order.buyer_id = p_user and not p_buyer_may then 'not_allowed'
    end;
    if outcome is not null then
        return;
    end if;
    perform events.act_for(p_user, p_correlation);
    update orders.orders o
    set status = 'refund_pending', refund_id = p_refund, version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'completed'
    returning * into v_order;
    if not found then
        -- Between the read and the lock another refund began.
        select case o.status when 'refunded' then 'refunded' else 'in_progress' end into outcome
        from orders.orders o where o.id = p_order;
        return;
    end if;
    order_status := v_order.status;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.updated', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    outcome := 'ok';
end
$$;

-- The money is back: refunded, its lines no longer live, its tickets free or withdrawn. Returns whether the order is
-- refunded; only the refund that it waits for makes it so.
create function orders.finish_refund(p_order uuid, p_refund uuid, p_relist boolean, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
begin
    perform events.act_for(null, p_correlation);
    perform tickets.unsell(p_order, orders.tickets_of(p_order), p_relist, p_correlation);
    update orders.orders o
    set status = 'refunded', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'refund_pending' and o.refund_id = p_refund
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.refunded', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
exception when sqlstate 'GT001' then
    return exists (select from orders.orders o where o.id = p_order and o.status = 'refunded');
end
$$;

-- The refund came to nothing: the order is completed, as it was. Returns whether this call made it so.
create function orders.fail_refund(p_order uuid, p_refund uuid, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
begin
    perform events.act_for(null, p_correlation);
    update orders.orders o
    set status = 'completed', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'refund_pending' and o.refund_id = p_refund
    returning * into v_order;
    if not found then
        return false;
    end if;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.updated', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
end
$$;

grant execute on function orders.begin_refund, orders.finish_refund, orders.fail_refund to gittix_payments;
