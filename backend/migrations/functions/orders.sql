-- Who wins a ticket is decided here, in one transaction, by rows; events only tell of it.

-- A line as the API and its order's events show it.
create or replace function orders.line(l orders.lines) returns json
language sql stable
return json_build_object(
    'id', l.ticket_id, 'show_id', l.show_id, 'seller_id', l.seller_id, 'price', l.price, 'title', l.title,
    'section', l.section, 'row', l."row", 'seat', l.seat
);

-- An order as the API and its events show it.
create or replace function orders.state(o orders.orders, p_lines json) returns json
language sql stable
return json_build_object(
    'id', o.id, 'buyer_id', o.buyer_id, 'status', o.status, 'subtotal', o.subtotal, 'fee', o.fee, 'total', o.total,
    'currency', o.currency, 'expires_at', o.expires_at, 'payment_id', o.payment_id, 'version', o.version,
    'created_at', o.created_at, 'tickets', p_lines
);

create or replace function orders.state(o orders.orders) returns json
language sql stable
return orders.state(
    o, (select json_agg(orders.line(l) order by l.ticket_id) from orders.lines l where l.order_id = o.id)
);

create or replace function orders.tickets_of(p_order uuid) returns uuid[]
language sql stable
return array(select l.ticket_id from orders.lines l where l.order_id = p_order);

-- The lowest id that an order of this time can have: ids begin with their milliseconds.
create or replace function orders.id_at(p_time timestamptz) returns uuid
language sql stable
return rpad(lpad(to_hex((extract(epoch from p_time) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

-- Close unpaid orders as `p_status` (cancelled or expired) and tell of it. Their tickets are the caller's to release,
-- before this, for the lock order's sake. Returns the ids that were closed.
create or replace function orders.close(p_orders uuid[], p_status text, p_correlation uuid) returns uuid[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan for few rows must not meet a thousand
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
        select (l).order_id, json_agg(orders.line(l) order by (l).ticket_id) as state from ended group by (l).order_id
    )
    insert into events.outbox (type, subject, version, data, correlation_id)
    select 'order.' || p_status, lines.order_id, (closed.state).version, orders.state(closed.state, lines.state), p_correlation
    from closed join lines on lines.order_id = (closed.state).id
    order by lines.order_id;
    return v_closed;
end
$$;

-- Place an order: its tickets held, its lines, fee and total frozen, its events and the reply under its idempotency
-- key stored, in one transaction and one round trip.
--
-- `outcome` is placed or replayed with the reply's `status` and `body`; key_in_flight, key_reused, too_many_open_orders; cooling_down
-- with the time when that ends; or why `tickets.hold` refused, with the ticket and, when it is known, the end of the hold
-- in the way. Both times are by the clock that says `decided_at`. Too many tickets of a show are known only when they are held: that raises GT002, which undoes everything.
-- `p_max_unpaid` may be null: no cooldown.
create or replace function orders.place(
    p_buyer uuid, p_tickets uuid[], p_hold interval, p_grace interval, p_fee_percent numeric, p_max_open int,
    p_max_per_show int, p_max_unpaid int, p_cooldown interval, p_correlation uuid, p_key text, p_fingerprint bytea,
    out outcome text, out status int, out body text, out refused uuid, out refused_until timestamptz,
    out decided_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_id uuid := uuidv7();
    v_open int;
    v_calm_at timestamptz;
    v_recent uuid;
    v_hold record;
    v_other uuid;
    v_lines json;
    v_subtotal bigint;
    v_fee bigint;
begin
    if p_key is not null then
        if not pg_try_advisory_xact_lock(hashtextextended('orders:' || p_buyer || ':' || p_key, 0)) then
            outcome := 'key_in_flight';
            return;
        end if;
        select case when k.fingerprint = p_fingerprint then 'replayed' else 'key_reused' end,
               k.status,
               convert_from(k.body, 'UTF8')
        into outcome, status, body
        from orders.idempotency_keys k where k.user_id = p_buyer and k.key = p_key;
        if outcome is not null then
            return;
        end if;
    end if;

    -- The user's lock: parallel orders of one buyer count each other. Ids begin with their time, so what the limits
    -- look at is the short end of the buyer's index. A hold counts as unpaid if it kept its tickets for half its time.
    perform pg_advisory_xact_lock(hashtextextended('buyer:' || p_buyer, 0));
    decided_at := clock_timestamp();
    v_recent := orders.id_at(decided_at - p_hold - p_grace - p_cooldown);
    select count(*) filter (where recent.open and recent.ended_at > decided_at),
           (array_agg(recent.ended_at + p_cooldown order by recent.ended_at desc) filter (
               where recent.ended_at <= decided_at and recent.ended_at - recent.created_at >= p_hold / 2
           ))[p_max_unpaid]
    into v_open, v_calm_at
    from (
        select o.created_at,
               o.status in ('pending', 'awaiting_payment') as open,
               case when o.status in ('cancelled', 'expired') then least(o.updated_at, o.expires_at) else o.expires_at end
                   as ended_at
        from orders.orders o
        where o.buyer_id = p_buyer and o.id > v_recent
          and o.status in ('pending', 'awaiting_payment', 'cancelled', 'expired')
    ) recent;
    outcome := case when v_open >= p_max_open then 'too_many_open_orders' when v_calm_at > decided_at then 'cooling_down' end;
    if outcome is not null then
        refused_until := v_calm_at;
        return;
    end if;

    select * into v_hold
    from tickets.hold(v_id, p_buyer, p_tickets, decided_at + p_hold, null, null, p_correlation);
    if v_hold.outcome = 'displaces' then
        select * into v_hold
        from tickets.hold(
            v_id, p_buyer, p_tickets, decided_at + p_hold, v_hold.displaced,
            array(select l.ticket_id from orders.lines l where l.order_id = any (v_hold.displaced)), p_correlation
        );
    end if;
    if v_hold.outcome <> 'held' then
        outcome := v_hold.outcome;
        refused := v_hold.refused;
        refused_until := v_hold.refused_until;
        return;
    end if;
    if v_hold.displaced is not null then
        for v_other in select distinct id from unnest(v_hold.displaced) d (id) loop
            perform tickets.release(v_other, orders.tickets_of(v_other), p_correlation);
        end loop;
        perform orders.close(v_hold.displaced, 'expired', p_correlation);
    end if;

    select sum(t.price)::bigint,
           json_agg(
               json_build_object(
                   'id', t.id, 'show_id', t.show_id, 'seller_id', t.seller_id, 'price', t.price, 'title', t.title,
                   'section', t.section, 'row', t."row", 'seat', t.seat
               ) order by t.id
           )
    into v_subtotal, v_lines
    from unnest(v_hold.held) t;
    if exists (
        select from unnest(v_hold.held) t
        group by t.show_id
        having count(*) + (
            select count(*) from orders.lines l where l.buyer_id = p_buyer and l.show_id = t.show_id and l.live
        ) > p_max_per_show
    ) then
        raise exception using errcode = 'GT002', message = 'too many tickets of a show';
    end if;
    v_fee := round(v_subtotal * p_fee_percent / 100);

    with made as (
        insert into orders.orders (
            id, buyer_id, subtotal, fee, total, currency, expires_at, latest_expiry, created_at, updated_at
        )
        values (
            v_id, p_buyer, v_subtotal, v_fee, v_subtotal + v_fee, (v_hold.held)[1].currency, decided_at + p_hold,
            decided_at + p_hold + p_grace, decided_at, decided_at
        )
        returning orders.state(orders, v_lines) as state, version
    ), lined as (
        insert into orders.lines (order_id, buyer_id, ticket_id, show_id, seller_id, price, title, section, "row", seat)
        select v_id, p_buyer, t.id, t.show_id, t.seller_id, t.price, t.title, t.section, t."row", t.seat
        from unnest(v_hold.held) t
    ), told as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'order.created', v_id, made.version, made.state, p_correlation from made
    ), replied as materialized (
        select format(
            '%s, "server_now": %s, "seconds_left": %s}',
            left(made.state::text, -1), to_json(decided_at), extract(epoch from p_hold)
        ) as body
        from made
    ), kept as (
        insert into orders.idempotency_keys (user_id, key, fingerprint, status, headers, body)
        select p_buyer, p_key, p_fingerprint, 201, '{"content-type": "application/json"}',
               convert_to(replied.body, 'UTF8')
        from replied where p_key is not null
    )
    select 'placed', 201, replied.body into outcome, status, body from replied;
end
$$;

-- A live unpaid order of this buyer is given up. Returns done, not_found, or the status that forbids it.
create or replace function orders.cancel(p_order uuid, p_buyer uuid, p_correlation uuid) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
    perform events.act_for(p_buyer, p_correlation);
    perform tickets.release(p_order, orders.tickets_of(p_order), p_correlation);
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

-- Expire what is due, `p_limit` orders at the most. Returns the number of orders that it found.
--
-- An order past its time may have no ticket left: its seller withdrew it. Such a one is expired by a run that has released
-- nothing, so that others keep the lock order, tickets first; a lock that somebody has means that somebody decides.
create or replace function orders.expire_due(p_limit int, p_correlation uuid) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();  -- in a variable, so that an index can look for it
    v_due uuid[];
    v_lines_orders uuid[];
    v_lines_tickets uuid[];
    v_orders uuid[];
    v_bare uuid[];
begin
    -- Nobody was promised an end: one that a crash loses is due again. And whoever sees it, the relay or the next buyer,
    -- commits after it, which writes it to disk as well.
    perform set_config('synchronous_commit', 'off', true);
    perform events.act_for(null, p_correlation);
    -- Arrays between the steps: by id, each step is as many index look-ups, whatever a planner thinks of how many.
    v_due := array(
        select o.id from orders.orders o
        where o.status in ('pending', 'awaiting_payment') and o.expires_at <= v_now
        order by o.expires_at limit p_limit
    );
    select array_agg(l.order_id), array_agg(l.ticket_id) into v_lines_orders, v_lines_tickets
    from orders.lines l where l.order_id = any (v_due);
    select released, bare into v_orders, v_bare
    from tickets.release_due(v_lines_orders, v_lines_tickets, p_correlation);
    if cardinality(v_orders) = 0 then
        -- Holding no ticket, this waits for nobody's.
        v_orders := array(
            select o.id from orders.orders o
            where o.id = any (v_bare) and o.status in ('pending', 'awaiting_payment')
            order by o.id
            for no key update skip locked
        );
    end if;
    if cardinality(v_orders) > 0 then
        perform orders.close(v_orders, 'expired', p_correlation);
    end if;
    return cardinality(v_orders);
end
$$;

-- Expire what is due in batches, each of them free for others as soon as it is done; `p_batches` at the most. Counts the
-- orders. No transaction may be open around it.
create or replace procedure orders.expire_batches(
    p_limit int, p_batches int, p_correlation uuid, inout p_orders int default 0
)
language plpgsql
as $$
declare
    v_expired int;
begin
    for n in 1 .. p_batches loop
        v_expired := orders.expire_due(p_limit, p_correlation);
        commit;
        p_orders := p_orders + v_expired;
        exit when v_expired < p_limit;
    end loop;
end
$$;

-- What payments may do to an order, inside its own transaction.

-- Why this order can't be paid now; null when it can.
create or replace function orders.unpayable(o orders.orders) returns text
language sql volatile
return case
    when o.status in ('completed', 'refund_pending', 'refunded') then 'paid'
    when o.status = 'confirmed' then 'in_progress'
    when o.status in ('cancelled', 'expired') then o.status
    when o.expires_at <= clock_timestamp() then 'expired'
end;

-- A payment begins: the hold is extended to its grace, once. `outcome` is ok with amount, currency and deadline, or
-- not_found, expired, cancelled, paid, in_progress.
create or replace function orders.begin_payment(
    p_order uuid, p_buyer uuid, p_payment uuid, p_correlation uuid,
    out outcome text, out amount bigint, out currency text, out deadline timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
create or replace function orders.settle(p_order uuid, p_payment uuid, p_amount bigint, p_currency text, p_correlation uuid)
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
    perform events.act_for(v_order.buyer_id, p_correlation);
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
create or replace function orders.finish(p_order uuid, p_payment uuid, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
        raise exception using errcode = 'GT001', message = 'stale';
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
create or replace function orders.fail(p_order uuid, p_payment uuid, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
        raise exception using errcode = 'GT001', message = 'stale';
    end if;
    update orders.lines l set live = false where l.order_id = p_order;
    insert into events.outbox (type, subject, version, data, correlation_id)
    values ('order.cancelled', v_order.id, v_order.version, orders.state(v_order), p_correlation);
    return true;
exception when sqlstate 'GT001' then
    return false;
end
$$;

-- A refund of the whole order begins: completed → refund_pending. `outcome` is ok with payment, amount and currency;
-- not_found; other_sellers: a seller may refund only what is all theirs; refunded (with the same as ok), in_progress,
-- not_refundable, with the order's status; relist_not_allowed, not_allowed: what a buyer may not.
create or replace function orders.begin_refund(
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
create or replace function orders.finish_refund(p_order uuid, p_refund uuid, p_relist boolean, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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
        raise exception using errcode = 'GT001', message = 'stale';
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
create or replace function orders.fail_refund(p_order uuid, p_refund uuid, p_correlation uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
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

-- An order as its events show it, for the reply to whoever was allowed to refund it.
create or replace function orders.read(p_order uuid) returns json
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select orders.state(o) from orders.orders o where o.id = p_order
$$;

grant execute on function
    orders.line, orders.state(orders.orders, json), orders.state(orders.orders), orders.tickets_of, orders.id_at
to gittix_orders;
grant execute on procedure orders.expire_batches to gittix_orders;
grant execute on function orders.close, orders.place, orders.cancel, orders.expire_due to gittix_orders;
grant execute on function
    orders.begin_payment, orders.settle, orders.finish, orders.fail, orders.begin_refund, orders.finish_refund,
    orders.fail_refund, orders.read
to gittix_payments;

-- For the same reasons as those of tickets.
do $$
declare
    f regproc;
begin
    foreach f in array array[
        'orders.close', 'orders.place', 'orders.cancel', 'orders.expire_due',
        'orders.begin_payment', 'orders.settle', 'orders.finish', 'orders.fail', 'orders.begin_refund',
        'orders.finish_refund', 'orders.fail_refund', 'orders.read'
    ]::regproc[] loop
        execute format('alter function %s set plan_cache_mode = force_generic_plan', f);
        execute format('alter function %s set enable_seqscan = off', f);
        execute format('alter function %s set enable_bitmapscan = off', f);
    end loop;
end
$$;
