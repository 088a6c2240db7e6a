-- Refunds: a completed order's money goes back, whole, and its tickets leave it in the transaction that records that.

alter table orders.orders
-- The refund that put the order into refund_pending: no other may end it.
add column refund_id uuid;

-- An order's sold tickets leave it: free again at their price under their old seller, or withdrawn. Returns how many.
create function tickets.unsell(p_order uuid, p_relist boolean, p_correlation uuid) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_unsold int;
begin
    perform 1 from tickets.tickets t where t.order_id = p_order order by t.id for no key update;
    with unsold as (
        update tickets.tickets t
        set status = case when p_relist then 'available' else 'withdrawn' end, order_id = null,
            version = t.version + 1, updated_at = clock_timestamp()
        where t.order_id = p_order and t.status = 'sold'
        returning t as ticket
    ), told as (
        select events.record(
            case when p_relist then 'ticket.released' else 'ticket.withdrawn' end, (ticket).id, (ticket).version,
            tickets.state(ticket) || jsonb_build_object('previous_order_id', p_order, 'refunded', true), p_correlation
        ) from unsold order by (ticket).id
    )
    select count(*) into v_unsold from told;
    return v_unsold;
end
$$;

-- A refund of the whole order begins: completed → refund_pending. `outcome` is ok with payment, amount and currency;
-- not_found; other_sellers: a seller may refund only what is all theirs; refunded (with the same as ok), in_progress,
-- not_refundable, with the order's status; relist_not_allowed, not_allowed: what a buyer may not.
create function orders.begin_refund(
    p_order uuid, p_refund uuid, p_user uuid, p_buyer_may boolean, p_relist boolean, p_correlation uuid,
    out outcome text, out order_status text, out payment uuid, out amount bigint, out currency text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
    perform events.record('order.updated', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    outcome := 'ok';
end
$$;

-- The money is back: refunded, its lines no longer live, its tickets free or withdrawn. Returns whether the order is
-- refunded; only the refund that it waits for makes it so.
create function orders.finish_refund(p_order uuid, p_refund uuid, p_relist boolean, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_order orders.orders;
begin
    perform tickets.unsell(p_order, p_relist, p_correlation);
    update orders.orders o
    set status = 'refunded', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'refund_pending' and o.refund_id = p_refund
    returning * into v_order;
    if not found then
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    perform events.record('order.refunded', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
exception when sqlstate 'GT001' then
    return exists (select from orders.orders o where o.id = p_order and o.status = 'refunded');
end
$$;

-- The refund came to nothing: the order is completed, as it was. Returns whether this call made it so.
create function orders.fail_refund(p_order uuid, p_refund uuid, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_order orders.orders;
begin
    update orders.orders o
    set status = 'completed', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'refund_pending' and o.refund_id = p_refund
    returning * into v_order;
    if not found then
        return false;
    end if;
    perform events.record('order.updated', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
end
$$;

-- An order as its events show it, for the reply to whoever was allowed to refund it.
create function orders.read(p_order uuid) returns jsonb
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select orders.state(o) from orders.orders o where o.id = p_order
$$;

grant execute on function orders.begin_refund, orders.finish_refund, orders.fail_refund, orders.read
to gittix_payments;

-- As for the functions before them: look-ups by index, planned once.
do $$
declare
    f regproc;
begin
    foreach f in array array[
        'tickets.unsell', 'orders.begin_refund', 'orders.finish_refund', 'orders.fail_refund', 'orders.read'
    ]::regproc[] loop
        execute format('alter function %s set plan_cache_mode = force_generic_plan', f);
        execute format('alter function %s set enable_seqscan = off', f);
    end loop;
end
$$;

-- When its money was taken: a buyer's time to ask for it back runs from here.
alter table payments.payments add column captured_at timestamptz;
update payments.payments set captured_at = updated_at where status = 'captured';

create table payments.refunds (
    id uuid primary key,
    order_id uuid not null,
    payment_id uuid not null references payments.payments (id),
    intent_id text not null,
    -- Its place among the order's refunds: those before it failed.
    number int not null,
    requested_by uuid not null,
    relist boolean not null,
    status text not null default 'requested',
    amount bigint not null,
    currency text not null,
    stripe_id text,
    failure_code text,
    -- How often Stripe answered the request for it with a fault of its own.
    faults int not null default 0,
    -- When the reconciler last took it up.
    looked_at timestamptz not null default now(),
    -- The request that asked for it; its reply is kept here once there is one.
    idempotency_key text,
    fingerprint bytea,
    reply_status int,
    reply_body bytea,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint refunds_status_known check (status in ('requested', 'pending', 'succeeded', 'failed')),
    constraint refunds_amount_positive check (amount > 0),
    constraint refunds_stripe_has_it check (status not in ('pending', 'succeeded') or stripe_id is not null),
    constraint refunds_failure_has_a_code check ((status = 'failed') = (failure_code is not null)),
    unique (order_id, number)
);
create unique index refunds_one_an_order on payments.refunds (order_id) where status <> 'failed';
create unique index refunds_key on payments.refunds (requested_by, idempotency_key) where idempotency_key is not null;
create index refunds_intent on payments.refunds (intent_id);
create index refunds_payment on payments.refunds (payment_id);
create index refunds_open on payments.refunds (looked_at) where status in ('requested', 'pending');
