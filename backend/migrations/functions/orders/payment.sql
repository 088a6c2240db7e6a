-- Why this order can't be paid now; null when it can.
create function orders.unpayable(o orders.orders) returns text
language sql volatile
return case
    when o.status in ('completed', 'refund_pending', 'refunded') then 'paid'
    when o.status = 'confirmed' then 'in_progress'
    when o.status in ('cancelled', 'expired') then o.status
    when o.expires_at <= clock_timestamp() then 'expired'
end;

-- A payment begins: the hold is extended to its grace, once. `outcome` is ok with amount, currency and deadline, or
-- not_found, expired, cancelled, paid, in_progress.
create function orders.begin_payment(
    p_order uuid, p_buyer uuid, p_payment uuid, p_correlation uuid,
    out outcome text, out amount bigint, out currency text, out deadline timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
    v_grace interval;
    v_tickets uuid[];
begin
    select * into v_order from orders.orders o where o.id = p_order and o.buyer_id = p_buyer;
    outcome := case when v_order.id is null then 'not_found' else orders.unpayable(v_order) end;
    if outcome is not null then
        return;
    end if;
    perform events.act_for(p_buyer, p_correlation);
    if v_order.status = 'pending' then
        v_grace := v_order.latest_expiry - v_order.expires_at;
        deadline := least(greatest(clock_timestamp() + v_grace, v_order.expires_at), v_order.latest_expiry);
        v_tickets := orders.tickets_of(p_order);
        if tickets.extend(p_order, v_tickets, deadline, p_correlation) < cardinality(v_tickets) then
            perform orders.raise_error('stale');
        end if;
        update orders.orders o
        set status = 'awaiting_payment', expires_at = deadline, payment_id = p_payment, version = o.version + 1,
            updated_at = clock_timestamp()
        where o.id = p_order and o.status = 'pending'
        returning * into v_order;
        if not found then
            perform orders.raise_error('stale');
        end if;
    else
        update orders.orders o
        set payment_id = p_payment, version = o.version + 1, updated_at = clock_timestamp()
        where o.id = p_order and o.status = 'awaiting_payment' and o.expires_at > clock_timestamp()
        returning * into v_order;
        if not found then
            perform orders.raise_error('stale');
        end if;
    end if;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.updated', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    outcome := 'ok';
    amount := v_order.total;
    currency := v_order.currency;
    deadline := v_order.expires_at;
exception when sqlstate 'GT001' then
    -- Between the read and the locks another payment or the clock decided.
    select coalesce(orders.unpayable(o), 'in_progress') into outcome from orders.orders o where o.id = p_order;
    deadline := null;
end
$$;

-- The payment is authorised: does it win the order's row? won again for the payment that won. A late one wins an order
-- that is merely expired, when all its tickets are still free.
create function orders.settle(p_order uuid, p_payment uuid, p_amount bigint, p_currency text, p_correlation uuid)
returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
    v_tickets uuid[];
    v_prices bigint[];
begin
    select * into v_order from orders.orders o where o.id = p_order;
    if v_order.status in ('confirmed', 'completed') and v_order.payment_id = p_payment then
        return 'won';
    end if;
    if v_order.id is null or v_order.status not in ('awaiting_payment', 'expired')
        or v_order.total <> p_amount or v_order.currency <> p_currency then
        return 'refused';
    end if;
    perform events.act_for(v_order.buyer_id, p_correlation);
    select array_agg(l.ticket_id order by l.ticket_id), array_agg(l.price order by l.ticket_id)
    into v_tickets, v_prices
    from orders.lines l where l.order_id = p_order;
    if not tickets.reserve(p_order, v_tickets, v_prices, v_order.currency, p_correlation) then
        -- Taken by another order, or reserved for this one by a twin of this call.
        perform orders.raise_error('stale');
    end if;
    update orders.orders o
    set status = 'confirmed', payment_id = p_payment, version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status in ('awaiting_payment', 'expired')
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    update orders.lines l set live = true where l.order_id = p_order and not l.live;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.confirmed', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return 'won';
exception when sqlstate 'GT001' or unique_violation then
    select * into v_order from orders.orders o where o.id = p_order;
    return case
        when v_order.status in ('confirmed', 'completed') and v_order.payment_id = p_payment then 'won' else 'refused'
    end;
end
$$;

-- The payment is captured: completed, sold. Returns whether the order is completed by this payment.
create function orders.finish(p_order uuid, p_payment uuid, p_correlation uuid) returns boolean
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
    perform tickets.sell(p_order, orders.tickets_of(p_order), p_correlation);
    update orders.orders o
    set status = 'completed', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'confirmed' and o.payment_id = p_payment
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.completed', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
exception when sqlstate 'GT001' then
    return exists (
        select from orders.orders o where o.id = p_order and o.status = 'completed' and o.payment_id = p_payment
    );
end
$$;

-- The payment that won cannot be captured: the order is cancelled and its tickets are free again.
create function orders.fail(p_order uuid, p_payment uuid, p_correlation uuid) returns boolean
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
    perform tickets.release(p_order, orders.tickets_of(p_order), p_correlation, array['reserved']);
    update orders.orders o
    set status = 'cancelled', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'confirmed' and o.payment_id = p_payment
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.cancelled', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
exception when sqlstate 'GT001' then
    return false;
end
$$;

grant execute on function orders.begin_payment, orders.settle, orders.finish, orders.fail to gittix_payments;
