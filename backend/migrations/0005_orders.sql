-- Orders and their lines. Who wins a ticket is decided here, in one transaction, by rows; events only tell of it.

create table orders.orders (
    id uuid primary key,
    buyer_id uuid not null,
    status text not null default 'pending',
    subtotal bigint not null,
    fee bigint not null,
    total bigint not null,
    currency text not null,
    expires_at timestamptz not null,
    -- No extension goes beyond it.
    latest_expiry timestamptz not null,
    payment_id uuid,
    version bigint not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    constraint orders_status_known check (status in (
        'pending', 'awaiting_payment', 'confirmed', 'completed', 'cancelled', 'expired', 'refund_pending', 'refunded'
    )),
    constraint orders_total_is_the_sum check (total = subtotal + fee and subtotal > 0 and fee >= 0),
    constraint orders_expiry_capped check (expires_at <= latest_expiry),
    constraint orders_paid_names_payment check (status not in ('confirmed', 'completed') or payment_id is not null)
);
create index orders_buyer on orders.orders (buyer_id, id);
create index orders_unpaid on orders.orders (expires_at) where status in ('pending', 'awaiting_payment');

create table orders.lines (
    order_id uuid not null references orders.orders (id),
    ticket_id uuid not null,
    show_id uuid not null,
    seller_id uuid not null,
    price bigint not null,
    title text,
    section text,
    "row" text,
    seat text,
    live boolean not null default true,
    primary key (order_id, ticket_id)
);
-- The second lock behind the guarded updates: a ticket is on one live line, whatever else goes wrong.
create unique index lines_one_live_per_ticket on orders.lines (ticket_id) where live;

-- An order as the API and its events show it.
create function orders.state(o orders.orders) returns jsonb
language sql stable
return jsonb_build_object(
    'id', o.id, 'buyer_id', o.buyer_id, 'status', o.status, 'subtotal', o.subtotal, 'fee', o.fee, 'total', o.total,
    'currency', o.currency, 'expires_at', o.expires_at, 'payment_id', o.payment_id, 'version', o.version,
    'created_at', o.created_at,
    'tickets', (
        select jsonb_agg(
            jsonb_build_object(
                'id', l.ticket_id, 'show_id', l.show_id, 'seller_id', l.seller_id, 'price', l.price, 'title', l.title,
                'section', l.section, 'row', l."row", 'seat', l.seat
            ) order by l.ticket_id
        )
        from orders.lines l where l.order_id = o.id
    )
);

-- Close unpaid orders as `p_status` (cancelled or expired) and tell of it. Their tickets are the caller's to release,
-- before this, for the lock order's sake. Returns the ids that were closed.
create function orders.close(p_orders uuid[], p_status text, p_correlation uuid) returns uuid[]
language plpgsql volatile
as $$
declare
    v_closed uuid[];
begin
    perform 1 from orders.orders o where o.id = any (p_orders) order by o.id for no key update;
    with closed as (
        update orders.orders o
        set status = p_status, version = o.version + 1, updated_at = clock_timestamp()
        where o.id = any (p_orders) and o.status in ('pending', 'awaiting_payment')
        returning o as ord
    ), lines as (
        update orders.lines l set live = false from closed where l.order_id = (ord).id
    ), told as (
        select (ord).id,
               events.append('order.' || p_status, (ord).id, (ord).version, orders.state(ord), p_correlation)
        from closed order by (ord).id
    )
    select coalesce(array_agg(told.id), '{}') into v_closed from told;
    return v_closed;
end
$$;

-- Place an order: its tickets held, its lines, fee and total frozen, its events and the reply under its idempotency
-- key stored, in one transaction and one round trip.
--
-- `outcome` is placed or replayed with the reply's `body`; key_in_flight, key_reused, too_many_open_orders; or why
-- `tickets.hold` refused, with the ticket and, when it is known, the end of the hold in the way.
create function orders.place(
    p_order uuid, p_buyer uuid, p_tickets uuid[], p_hold interval, p_grace interval, p_fee_percent numeric,
    p_max_open int, p_correlation uuid, p_key text, p_fingerprint bytea,
    out outcome text, out body text, out refused uuid, out refused_until timestamptz
)
language plpgsql volatile
as $$
declare
    v_hold record;
    v_order orders.orders;
    v_other uuid;
    v_now timestamptz;
begin
    if p_key is not null then
        if not pg_try_advisory_xact_lock(hashtextextended('orders:' || p_buyer || ':' || p_key, 0)) then
            outcome := 'key_in_flight';
            return;
        end if;
        select case when k.fingerprint = p_fingerprint then 'replayed' else 'key_reused' end,
               convert_from(k.body, 'UTF8')
        into outcome, body
        from orders.idempotency_keys k where k.user_id = p_buyer and k.key = p_key;
        if outcome is not null then
            return;
        end if;
    end if;

    -- The user's lock: parallel orders of one buyer count each other.
    perform pg_advisory_xact_lock(hashtextextended('buyer:' || p_buyer, 0));
    v_now := clock_timestamp();
    if p_max_open <= (
        select count(*) from orders.orders o
        where o.buyer_id = p_buyer and o.status in ('pending', 'awaiting_payment') and o.expires_at > v_now
    ) then
        outcome := 'too_many_open_orders';
        return;
    end if;

    select * into v_hold from tickets.hold(p_order, p_buyer, p_tickets, v_now + p_hold, p_correlation);
    if v_hold.outcome <> 'held' then
        outcome := v_hold.outcome;
        refused := v_hold.refused;
        refused_until := v_hold.refused_until;
        return;
    end if;
    if v_hold.displaced is not null then
        foreach v_other in array v_hold.displaced loop
            perform tickets.release(v_other, p_correlation);
        end loop;
        perform orders.close(v_hold.displaced, 'expired', p_correlation);
    end if;

    insert into orders.orders (id, buyer_id, subtotal, fee, total, currency, expires_at, latest_expiry, created_at, updated_at)
    select p_order, p_buyer, sums.subtotal, sums.fee, sums.subtotal + sums.fee, v_hold.held -> 0 ->> 'currency',
           v_now + p_hold, v_now + p_hold + p_grace, v_now, v_now
    from (
        select sum((t ->> 'price')::bigint)::bigint as subtotal,
               round(sum((t ->> 'price')::bigint) * p_fee_percent / 100)::bigint as fee
        from jsonb_array_elements(v_hold.held) t
    ) sums
    returning * into v_order;

    insert into orders.lines (order_id, ticket_id, show_id, seller_id, price, title, section, "row", seat)
    select p_order, t.id, t.show_id, t.seller_id, t.price, t.title, t.section, t."row", t.seat
    from jsonb_to_recordset(v_hold.held) as t (
        id uuid, show_id uuid, seller_id uuid, price bigint, title text, section text, "row" text, seat text
    );

    perform events.append('order.created', p_order, v_order.version, orders.state(v_order), p_correlation);

    outcome := 'placed';
    body := (
        orders.state(v_order) || jsonb_build_object(
            'server_now', v_now, 'seconds_left', extract(epoch from v_order.expires_at - v_now)
        )
    )::text;
    if p_key is not null then
        insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers, body)
        values (p_buyer, p_key, p_fingerprint, 201, '{"content-type": "application/json"}', convert_to(body, 'UTF8'));
    end if;
end
$$;

-- A live unpaid order of this buyer is given up. Returns done, not_found, or the status that forbids it.
create function orders.cancel(p_order uuid, p_buyer uuid, p_correlation uuid) returns text
language plpgsql volatile
as $$
declare
    v_status text;
begin
    select case when o.status in ('pending', 'awaiting_payment') and o.expires_at <= clock_timestamp() then 'expired' else o.status end
    into v_status from orders.orders o where o.id = p_order and o.buyer_id = p_buyer;
    if v_status is null then
        return 'not_found';
    end if;
    if v_status not in ('pending', 'awaiting_payment') then
        return v_status;
    end if;
    perform tickets.release(p_order, p_correlation);
    if orders.close(array[p_order], 'cancelled', p_correlation) <> array[p_order] then
        -- Between the read and the locks a payment or the clock decided: undo the release.
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    return 'done';
exception when sqlstate 'GT001' then
    select o.status into v_status from orders.orders o where o.id = p_order;
    return v_status;
end
$$;

-- Expire what is due, about `p_limit` tickets. Returns the number of orders that it found.
--
-- An order past its time may have no ticket left that tells of it: its seller withdrew it. Such a one is expired a little
-- later, so that others keep the lock order, tickets first; a lock that somebody has means that somebody decides.
create function orders.expire_due(p_limit int, p_correlation uuid) returns int
language plpgsql volatile
as $$
declare
    v_orders uuid[] := tickets.release_due(p_limit, p_correlation);
begin
    if cardinality(v_orders) = 0 then
        -- Only a run that has released nothing looks for these: holding no ticket, it waits for nobody's.
        v_orders := array(
            select o.id from orders.orders o
            where o.status in ('pending', 'awaiting_payment') and o.expires_at <= clock_timestamp() - interval '1 second'
            order by o.expires_at limit p_limit
            for no key update skip locked
        );
    end if;
    if cardinality(v_orders) > 0 then
        perform orders.close(v_orders, 'expired', p_correlation);
    end if;
    return cardinality(v_orders);
end
$$;

grant execute on function
    orders.state, orders.close, orders.place, orders.cancel, orders.expire_due
to gittix_orders;

-- What payments may do to an order, inside its own transaction.

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
as $$
declare
    v_order orders.orders;
    v_grace interval;
begin
    select * into v_order from orders.orders o where o.id = p_order and o.buyer_id = p_buyer;
    outcome := case when v_order.id is null then 'not_found' else orders.unpayable(v_order) end;
    if outcome is not null then
        return;
    end if;
    if v_order.status = 'pending' then
        v_grace := v_order.latest_expiry - v_order.expires_at;
        deadline := least(greatest(clock_timestamp() + v_grace, v_order.expires_at), v_order.latest_expiry);
        if tickets.extend(p_order, deadline, p_correlation)
            < (select count(*) from orders.lines l where l.order_id = p_order) then
            raise exception using errcode = 'GT001', message = 'stale';
        end if;
        update orders.orders o
        set status = 'awaiting_payment', expires_at = deadline, payment_id = p_payment, version = o.version + 1,
            updated_at = clock_timestamp()
        where o.id = p_order and o.status = 'pending'
        returning * into v_order;
        if not found then
            raise exception using errcode = 'GT001', message = 'stale';
        end if;
    else
        update orders.orders o
        set payment_id = p_payment, version = o.version + 1, updated_at = clock_timestamp()
        where o.id = p_order and o.status = 'awaiting_payment' and o.expires_at > clock_timestamp()
        returning * into v_order;
        if not found then
            raise exception using errcode = 'GT001', message = 'stale';
        end if;
    end if;
    perform events.record('order.updated', v_order.id, v_order.version, orders.state(v_order), p_correlation);
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
    select array_agg(l.ticket_id order by l.ticket_id), array_agg(l.price order by l.ticket_id)
    into v_tickets, v_prices
    from orders.lines l where l.order_id = p_order;
    if not tickets.reserve(p_order, v_tickets, v_prices, v_order.currency, p_correlation) then
        -- Taken by another order, or reserved for this one by a twin of this call.
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    update orders.orders o
    set status = 'confirmed', payment_id = p_payment, version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status in ('awaiting_payment', 'expired')
    returning * into v_order;
    if not found then
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    update orders.lines l set live = true where l.order_id = p_order and not l.live;
    perform events.record('order.confirmed', v_order.id, v_order.version, orders.state(v_order), p_correlation);
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
as $$
declare
    v_order orders.orders;
begin
    perform tickets.sell(p_order, p_correlation);
    update orders.orders o
    set status = 'completed', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'confirmed' and o.payment_id = p_payment
    returning * into v_order;
    if not found then
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    perform events.record('order.completed', v_order.id, v_order.version, orders.state(v_order), p_correlation);
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
as $$
declare
    v_order orders.orders;
begin
    perform tickets.release(p_order, p_correlation, array['reserved']);
    update orders.orders o
    set status = 'cancelled', version = o.version + 1, updated_at = clock_timestamp()
    where o.id = p_order and o.status = 'confirmed' and o.payment_id = p_payment
    returning * into v_order;
    if not found then
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    perform events.record('order.cancelled', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
exception when sqlstate 'GT001' then
    return false;
end
$$;

grant usage on schema orders to gittix_payments;
grant execute on function orders.begin_payment, orders.settle, orders.finish, orders.fail to gittix_payments;

-- These functions look rows up by id, in arrays whose length a generic plan can't know; left to itself Postgres prefers
-- to plan them anew at each call, which costs twice what running them does. And they are look-ups by index at any size,
-- so a plan that was made while a table was small must not outlive it.
do $$
declare
    f regproc;
begin
    foreach f in array array[
        'tickets.hold', 'tickets.release', 'tickets.extend', 'tickets.reserve', 'tickets.sell', 'tickets.release_due',
        'orders.close', 'orders.place', 'orders.cancel', 'orders.expire_due',
        'orders.begin_payment', 'orders.settle', 'orders.finish', 'orders.fail'
    ]::regproc[] loop
        execute format('alter function %s set plan_cache_mode = force_generic_plan', f);
        execute format('alter function %s set enable_seqscan = off', f);
    end loop;
end
$$;
