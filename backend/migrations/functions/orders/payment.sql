-- The functions that the service of payments calls inside its own transactions.

-- The reason why this order cannot be paid now, or null if it can. A payment that began before the
-- sales of the show ended may be tried again until the hold ends.
create function orders.unpayable(o orders.orders, p_max_attempts int) returns text
language plpgsql volatile
as $$
begin
    return case
        when o.status in ('completed', 'refund_pending', 'refunded') then 'paid'
        when o.status = 'confirmed' then 'in_progress'
        when o.status in ('pending', 'expired')
            and tickets.sales_have_ended(orders.tickets_of(o.id), clock_timestamp())
        then 'sales_ended'
        when o.status = 'awaiting_payment' and tickets.are_called_off(orders.tickets_of(o.id))
        then 'sales_ended'
        when o.status in ('cancelled', 'expired') then o.status
        when o.expires_at <= clock_timestamp() then 'expired'
        when o.payment_attempts >= p_max_attempts then 'no_attempts_left'
    end;
end
$$;

-- Start a payment: the first one extends the hold, so that the payment has at least the grace from
-- now. `outcome` is ok with amount, currency and deadline (the end of the hold), or one of
-- - not_found, expired, cancelled, paid, in_progress, sales_ended;
-- - no_attempts_left: the order had `p_max_attempts` attempts, authorised or not;
-- - too_many_declines: the budget `spent` of declines is used up until `refused_until`, by the
--   clock of `decided_at`.
-- Each attempt is charged to the budgets, and `orders.settle` gives it back once the card is
-- authorised. Raises budget_spent.
create function orders.begin_payment(
    p_order uuid, p_buyer uuid, p_payment uuid, p_max_attempts int default null,
    p_subjects text[] default '{}', p_hourly bigint[] default '{}',
    out outcome text, out amount bigint, out currency text, out deadline timestamptz,
    out charged_to bigint[], out refused_until timestamptz, out spent text,
    out decided_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
begin
    select * into v_order from orders.orders o where o.id = p_order and o.buyer_id = p_buyer;
    decided_at := clock_timestamp();
    outcome := case
        when v_order.id is null then 'not_found'
        else orders.unpayable(v_order, p_max_attempts)
    end;
    if outcome is null then
        select 'too_many_declines', b.subject, b.retry_at into outcome, spent, refused_until
        from orders.spent_budgets(p_subjects, 1, decided_at) b
        order by b.retry_at desc limit 1;
    end if;
    if outcome is not null then
        return;
    end if;
    perform events.act_for(p_buyer);
    if v_order.status = 'pending' then
        v_order := orders.extend_for_payment(v_order, p_payment);
    else
        update orders.orders o
        set payment_id = p_payment, payment_attempts = o.payment_attempts + 1,
            version = o.version + 1, updated_at = clock_timestamp()
        where o.id = p_order and o.status = 'awaiting_payment'
          and o.expires_at > clock_timestamp()
          and (o.payment_attempts < p_max_attempts) is not false
        returning * into v_order;
    end if;
    if v_order.id is null then
        perform orders.raise_error('stale');
    end if;
    perform orders.append_event('order.updated', v_order);
    charged_to := orders.charge(p_subjects, p_hourly, 1);
    outcome := 'ok';
    amount := v_order.total;
    currency := v_order.currency;
    deadline := v_order.expires_at;
exception when sqlstate 'GT001' then
    -- Another payment or the expiry changed the order between the read and the locks.
    select coalesce(orders.unpayable(o, p_max_attempts), 'in_progress') into outcome
    from orders.orders o where o.id = p_order;
end
$$;

-- A step of `orders.begin_payment`. Returns the extended order, without an id if another
-- transaction changed it. Raises stale if a ticket's hold has ended.
create function orders.extend_for_payment(o orders.orders, p_payment uuid) returns orders.orders
language plpgsql
as $$
declare
    v_order orders.orders;
    v_tickets uuid[] := orders.tickets_of(o.id);
    v_deadline timestamptz;
begin
    -- The buyer may have extended the hold since `o` was read. With its tickets locked, no other
    -- transaction moves its end.
    perform tickets.lock_held(o.id, v_tickets);
    select * into o from orders.orders u where u.id = o.id;
    v_deadline := least(
        greatest(clock_timestamp() + (o.latest_expiry - o.expires_at), o.expires_at),
        o.latest_expiry
    );
    if tickets.extend(o.id, v_tickets, v_deadline) < cardinality(v_tickets) then
        perform orders.raise_error('stale');
    end if;
    update orders.orders u
    set status = 'awaiting_payment', expires_at = v_deadline, payment_id = p_payment,
        payment_attempts = u.payment_attempts + 1, version = u.version + 1,
        updated_at = clock_timestamp()
    where u.id = o.id and u.status = 'pending'
    returning * into v_order;
    if v_order.id is not null then
        perform orders.adjust_budgets(
            o.charged_to,
            cardinality(v_tickets) * extract(epoch from v_deadline - o.expires_at)
        );
    end if;
    return v_order;
end
$$;

-- An attempt that did not reach Stripe does not count: take it off the order, and give what it was
-- charged back. The caller ends the attempt in the same transaction, and so calls this once.
create function orders.uncount_attempt(p_order uuid, p_payment uuid, p_charged_to bigint[])
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    update orders.orders o set payment_attempts = o.payment_attempts - 1
    where o.id = p_order and o.payment_id = p_payment and o.payment_attempts > 0;
    perform orders.adjust_budgets(p_charged_to, -1);
end
$$;

-- Settle an authorised payment. Returns won if it wins the order now or won it before, else
-- refused. A late payment wins an expired order while no other order has taken one of its tickets.
-- The winner gets the unpaid time of its hold back, and the attempt that `p_charged_to` paid for.
create function orders.settle(
    p_order uuid, p_payment uuid, p_amount bigint, p_currency text,
    p_charged_to bigint[] default null
) returns text
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
    perform events.act_for(v_order.buyer_id);
    select array_agg(l.ticket_id order by l.ticket_id), array_agg(l.price order by l.ticket_id)
    into v_tickets, v_prices
    from orders.lines l where l.order_id = p_order;
    if not tickets.reserve(p_order, v_tickets, v_prices, v_order.currency) then
        -- Another order took a ticket, its seller changed the price, or a concurrent call for this
        -- order reserved the tickets.
        perform orders.raise_error('stale');
    end if;
    update orders.orders o
    set status = 'confirmed', payment_id = p_payment, version = o.version + 1,
        updated_at = clock_timestamp()
    where o.id = p_order and o.status in ('awaiting_payment', 'expired')
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    update orders.lines l set live = true where l.order_id = p_order and not l.live;
    perform orders.append_event('order.confirmed', v_order);
    perform orders.give_hold_back(v_order, v_order.created_at);
    perform orders.adjust_budgets(p_charged_to, -1);
    return 'won';
exception when sqlstate 'GT001' or unique_violation then
    select * into v_order from orders.orders o where o.id = p_order;
    return case
        when v_order.status in ('confirmed', 'completed') and v_order.payment_id = p_payment
        then 'won' else 'refused'
    end;
end
$$;

-- The payment is captured: sell the tickets and complete the order. Returns whether this payment
-- completed the order, also when it did so before.
create function orders.finish(p_order uuid, p_payment uuid) returns boolean
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
    perform tickets.sell(p_order, orders.tickets_of(p_order));
    update orders.orders o
    set status = 'completed', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'confirmed' and o.payment_id = p_payment
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    perform orders.append_event('order.completed', v_order);
    return true;
exception when sqlstate 'GT001' then
    return exists (
        select from orders.orders o
        where o.id = p_order and o.status = 'completed' and o.payment_id = p_payment
    );
end
$$;

-- The capture of the payment that won has failed: cancel the order and release its tickets. Returns
-- whether this call cancelled it.
create function orders.fail(p_order uuid, p_payment uuid) returns boolean
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
    perform tickets.release(p_order, orders.tickets_of(p_order), array['reserved']);
    update orders.orders o
    set status = 'cancelled', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'confirmed' and o.payment_id = p_payment
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    perform orders.append_event('order.cancelled', v_order);
    return true;
exception when sqlstate 'GT001' then
    return false;
end
$$;

grant execute on function
    orders.begin_payment, orders.uncount_attempt, orders.settle, orders.finish, orders.fail
to gittix_payments;
