-- The extension of an unpaid hold by its buyer. An account that needs more time may extend each
-- hold once, by the length that the hold began with, before it ends and before a payment begins.

-- Extend the hold of this buyer's order. `outcome` is one of
-- - extended: `body` is the order as `orders.state` builds it;
-- - not_found;
-- - a refusal of `orders.plan_extension`, with its budget and time; `order_status` is the effective
--   status of the order.
-- The latest end of a payment moves by the same length. Raises budget_spent when another
-- transaction used a budget up since the read.
create function orders.extend(
    p_order uuid, p_buyer uuid,
    out outcome text, out body text, out order_status text, out retry_at timestamptz,
    out spent text, out decided_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
    v_tickets uuid[] := orders.tickets_of(p_order);
    v_plan record;
begin
    select * into v_order from orders.orders o where o.id = p_order and o.buyer_id = p_buyer;
    decided_at := clock_timestamp();
    if v_order.id is null then
        outcome := 'not_found';
        return;
    end if;
    v_plan := orders.plan_extension(v_order, v_tickets, decided_at);
    if v_plan.outcome is not null then
        outcome := v_plan.outcome;
        order_status := orders.effective_status(v_order, decided_at);
        retry_at := v_plan.retry_at;
        spent := v_plan.spent;
        return;
    end if;
    perform events.act_for(p_buyer);
    if tickets.extend(p_order, v_tickets, v_plan.until) < cardinality(v_tickets) then
        perform orders.raise_error('stale');
    end if;
    update orders.orders o
    set expires_at = v_plan.until, extended_at = clock_timestamp(), version = o.version + 1,
        latest_expiry = o.latest_expiry + (v_plan.until - o.expires_at),
        updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'pending' and o.extended_at is null
      and o.expires_at > clock_timestamp()
    returning * into v_order;
    if not found then
        perform orders.raise_error('stale');
    end if;
    perform orders.append_event('order.updated', v_order);
    perform orders.charge_more(v_order.charged_to, v_plan.amount);
    outcome := 'extended';
    body := orders.state(v_order);
exception when sqlstate 'GT001' then
    -- A payment, the expiry or another extension changed the order between the read and the locks.
    select coalesce(orders.unextendable(o, clock_timestamp()), 'not_extendable'),
           orders.effective_status(o, clock_timestamp())
    into outcome, order_status
    from orders.orders o where o.id = p_order;
end
$$;
grant execute on function orders.extend to gittix_orders;

-- The functions below are steps of `orders.extend`: they run with its rights and its settings.

-- The end and the price, in ticket-seconds, of an extension at `p_now`. `outcome` is null or one of
-- - not_allowed, not_extendable, already_extended (`orders.unextendable`);
-- - sales_ended: the sales of one of the shows end before the hold would be any longer;
-- - cooling_down: until `retry_at`, the budget `spent` lacks the price.
create function orders.plan_extension(
    o orders.orders, p_tickets uuid[], p_now timestamptz,
    out outcome text, out until timestamptz, out amount double precision,
    out retry_at timestamptz, out spent text
)
language plpgsql volatile
as $$
begin
    until := least(o.expires_at + (o.expires_at - o.created_at), tickets.sales_end_of(p_tickets));
    amount := cardinality(p_tickets) * extract(epoch from until - o.expires_at);
    outcome := orders.unextendable(o, p_now);
    if outcome is null and amount <= 0 then
        outcome := 'sales_ended';
    end if;
    if outcome is null then
        select 'cooling_down', b.retry_at, b.subject into outcome, retry_at, spent
        from orders.lacking_budgets(o.charged_to, amount, p_now) b
        order by b.retry_at desc limit 1;
    end if;
end
$$;

-- The reason why the buyer cannot extend the hold: not_allowed if the account has not switched the
-- setting on, not_extendable for its status, already_extended, or null.
create function orders.unextendable(o orders.orders, p_now timestamptz) returns text
language plpgsql stable
as $$
begin
    return case
        when not auth.needs_more_time(o.buyer_id) then 'not_allowed'
        when orders.effective_status(o, p_now) <> 'pending' then 'not_extendable'
        when o.extended_at is not null then 'already_extended'
    end;
end
$$;
