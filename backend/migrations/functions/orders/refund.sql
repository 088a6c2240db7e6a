-- The refund of a whole order. The service of payments calls these functions inside its
-- transactions.

-- Start a refund: completed → refund_pending. `p_buyer_may` is whether the refund window of the
-- buyer is open. `outcome` is one of
-- - ok, with payment, amount and currency;
-- - refunded, with the same: the order was refunded before;
-- - in_progress, not_refundable: the order's status, which `order_status` has, forbids it;
-- - not_found: the user is neither the buyer nor a seller of one of its tickets;
-- - other_sellers: a seller may refund an order only if all its tickets are the seller's;
-- - relist_not_allowed: a buyer may not list the tickets again;
-- - not_allowed: the refund window of the buyer is closed.
create function orders.begin_refund(
    p_order uuid, p_refund uuid, p_user uuid, p_buyer_may boolean, p_relist boolean,
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
    perform events.act_for(p_user);
    update orders.orders o
    set status = 'refund_pending', refund_id = p_refund, version = o.version + 1,
        updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'completed'
    returning * into v_order;
    if not found then
        -- Another refund started between the read and the lock.
        select case o.status when 'refunded' then 'refunded' else 'in_progress' end into outcome
        from orders.orders o where o.id = p_order;
        return;
    end if;
    order_status := v_order.status;
    perform orders.append_event('order.updated', v_order);
    outcome := 'ok';
end
$$;

-- The money is returned: the order is refunded, its lines are no longer live, and its tickets are
-- listed again (`p_relist`) or withdrawn. Returns whether the order is refunded; only the refund in
-- `refund_id` can set this status.
create function orders.finish_refund(p_order uuid, p_refund uuid, p_relist boolean) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
begin
    perform events.act_for(null);
    perform tickets.unsell(p_order, orders.tickets_of(p_order), p_relist);
    update orders.orders o
    set status = 'refunded', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'refund_pending' and o.refund_id = p_refund
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    perform orders.append_event('order.refunded', v_order);
    return true;
exception when sqlstate 'GT001' then
    return exists (select from orders.orders o where o.id = p_order and o.status = 'refunded');
end
$$;

-- The refund failed: the order is completed again. Returns whether this call set that status.
create function orders.fail_refund(p_order uuid, p_refund uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
begin
    perform events.act_for(null);
    update orders.orders o
    set status = 'completed', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'refund_pending' and o.refund_id = p_refund
    returning * into v_order;
    if not found then
        return false;
    end if;
    perform orders.append_event('order.updated', v_order);
    return true;
end
$$;

grant execute on function orders.begin_refund, orders.finish_refund, orders.fail_refund
to gittix_payments;
