-- Refunds of some or all lines of an order. The service of payments calls these functions inside
-- its transactions. Several refunds of one order may be under way, each for lines of its own.
--
-- The status of a paid order follows from its lines: refunded if all of them are, refund_pending
-- while the rest of them is being refunded, else completed.

-- Start a refund of the lines `p_lines`, or of all that the user may refund: a buyer every line, a
-- seller its own. The lines become refund_pending and name the refund. `p_buyer_may` is whether the
-- buyer may have a refund now. `outcome` is one of
-- - ok, with the payment of the order, and the amount that the lines return in its currency;
-- - refunded, in_progress: one of the lines is; without `p_lines`, all of them are;
-- - not_refundable: the order's status, which `order_status` has, forbids it;
-- - not_found: the user is neither the buyer nor a seller of one of its tickets;
-- - line_not_found: one of `p_lines` is no line that the user may refund;
-- - relist_not_allowed: a buyer may not list the tickets again;
-- - not_allowed: the buyer may not have a refund now, and one of the lines is not returnable.
-- Lines that are owed to their buyer, because the bank returned their money after the refund, stay
-- refunded; the outcome is ok, and their money may be returned again at any time.
create function orders.begin_refund(
    p_order uuid, p_refund uuid, p_user uuid, p_buyer_may boolean, p_relist boolean,
    p_lines uuid[] default null, p_reason text default null,
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
    v_chosen record;
begin
    select * into v_order from orders.orders o
    where o.id = p_order and (o.buyer_id = p_user or exists (
        select from orders.lines l where l.order_id = p_order and l.seller_id = p_user
    ))
    for no key update;
    if not found then
        outcome := 'not_found';
        return;
    end if;
    order_status := v_order.status;
    payment := v_order.payment_id;
    currency := v_order.currency;
    if order_status not in ('completed', 'refund_pending', 'refunded') then
        outcome := 'not_refundable';
        return;
    end if;
    select * into v_chosen
    from orders.choose_lines(p_order, nullif(p_user, v_order.buyer_id), p_lines);
    outcome := case
        when v_chosen.outcome is not null then v_chosen.outcome
        when v_chosen.is_owed then null
        when v_order.buyer_id = p_user and p_relist then 'relist_not_allowed'
        when v_order.buyer_id = p_user and not p_buyer_may
            and not v_chosen.lines <@ orders.returnable(p_order)
        then 'not_allowed'
    end;
    if outcome is not null then
        return;
    end if;
    perform events.act_for(p_user);
    update orders.lines l
    set status = case l.status when 'sold' then 'refund_pending' else l.status end,
        refund_id = p_refund, refund_reason = p_reason
    where l.order_id = p_order and l.ticket_id = any (v_chosen.lines);
    amount := v_chosen.amount;
    if not v_chosen.is_owed then
        v_order := orders.follow_lines(p_order);
        perform orders.append_event('order.updated', v_order);
    end if;
    order_status := v_order.status;
    outcome := 'ok';
end
$$;

-- A step of `orders.begin_refund`, which has locked the order: the lines to refund, and what they
-- return. `p_seller` is null for the buyer. `outcome` is null, or a refusal.
create function orders.choose_lines(
    p_order uuid, p_seller uuid, p_lines uuid[],
    out outcome text, out lines uuid[], out amount bigint, out is_owed boolean
)
language plpgsql stable
as $$
declare
    v_status text;
begin
    -- Without a choice: the sold lines, else those that are owed.
    select case
        when p_lines is null and bool_or(l.status = 'sold') then 'sold'
        when count(*) < cardinality(p_lines) then 'line_not_found'
        when bool_or(l.status = 'refunded' and l.refund_id is not null and p_lines is not null)
        then 'refunded'
        when bool_or(l.status = 'refund_pending') then 'in_progress'
        when bool_or(l.status = 'refunded' and l.refund_id is null) then 'owed'
        when bool_and(l.status = 'sold') then 'sold'
        else 'refunded'
    end
    into v_status
    from orders.lines l
    where l.order_id = p_order and (p_seller is null or l.seller_id = p_seller)
      and (p_lines is null or l.ticket_id = any (p_lines));
    is_owed := v_status = 'owed';
    if v_status not in ('sold', 'owed') then
        outcome := v_status;
        return;
    end if;
    select array_agg(l.ticket_id), sum(l.price + l.fee) into lines, amount
    from orders.lines l
    where l.order_id = p_order and (p_seller is null or l.seller_id = p_seller)
      and (p_lines is null or l.ticket_id = any (p_lines))
      and case when is_owed then l.status = 'refunded' and l.refund_id is null
               else l.status = 'sold' end;
    if cardinality(lines) < cardinality(p_lines) then
        outcome := 'refunded';  -- some of the chosen lines are owed, others are sold
    elsif amount = 0 then
        outcome := 'not_refundable';  -- a line from before the lowest price may cost nothing
    end if;
end
$$;

-- Set the status of a locked order that follows from its lines. Returns the order.
create function orders.follow_lines(p_order uuid) returns orders.orders
language sql volatile
begin atomic
    update orders.orders o
    set status = (
            select case
                when bool_and(l.status = 'refunded') then 'refunded'
                when bool_or(l.status = 'sold') then 'completed'
                else 'refund_pending'
            end
            from orders.lines l where l.order_id = o.id
        ),
        version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order
    returning o.*;
end;

-- The lines of a refund, each with the money that it returns.
create function orders.lines_of_refund(
    p_order uuid, p_refund uuid, out ticket_id uuid, out amount bigint
) returns setof record
language sql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    select l.ticket_id, l.price + l.fee from orders.lines l
    where l.order_id = p_order and l.refund_id = p_refund
$$;

-- The money is returned: the refund's lines are refunded and no longer live, and their tickets are
-- listed again (`p_relist`) or withdrawn, with their prices capped if their seller asked for the
-- refund (`p_capped`). Returns whether the lines are refunded by this refund; only the refund that
-- a line names can change it.
create function orders.finish_refund(
    p_order uuid, p_refund uuid, p_relist boolean, p_capped boolean default false
) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_order orders.orders;
    v_tickets uuid[] := array(
        select l.ticket_id from orders.lines l
        where l.order_id = p_order and l.refund_id = p_refund and l.status = 'refund_pending'
    );
begin
    perform events.act_for(null);
    if p_capped then
        perform tickets.cap_prices(p_order, v_tickets);
    end if;
    perform tickets.unsell(p_order, v_tickets, p_relist);
    perform from orders.orders o where o.id = p_order for no key update;
    update orders.lines l set status = 'refunded', live = false
    where l.order_id = p_order and l.refund_id = p_refund and l.status = 'refund_pending';
    if not found then
        perform orders.raise_error('stale');
    end if;
    v_order := orders.follow_lines(p_order);
    perform orders.append_event(
        case v_order.status when 'refunded' then 'order.refunded' else 'order.updated' end, v_order
    );
    return true;
exception when sqlstate 'GT001' then
    return exists (
        select from orders.lines l
        where l.order_id = p_order and l.refund_id = p_refund and l.status = 'refunded'
    );
end
$$;

-- The refund failed: its lines are sold again. Lines that are refunded by then stay so, since
-- another buyer may have their tickets; they are owed to their buyer. Returns whether this call set
-- lines sold.
create function orders.fail_refund(p_order uuid, p_refund uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    perform events.act_for(null);
    perform from orders.orders o where o.id = p_order for no key update;
    update orders.lines l set refund_id = null
    where l.order_id = p_order and l.refund_id = p_refund and l.status = 'refunded';
    update orders.lines l
    set status = 'sold', refund_id = null, refund_reason = null,
        refund_failed_at = clock_timestamp()
    where l.order_id = p_order and l.refund_id = p_refund and l.status = 'refund_pending';
    if not found then
        return false;
    end if;
    perform orders.append_event('order.updated', orders.follow_lines(p_order));
    return true;
end
$$;

grant execute on function
    orders.begin_refund, orders.lines_of_refund, orders.finish_refund, orders.fail_refund
to gittix_payments;
