-- The JSON of an order and of its lines, in the API and in the events of orders. It is built here
-- only; the API adds the fields that depend on the time of the reply (`backend/orders/model.py`).

create function orders.show(
    p_title text, p_venue text, p_city text, p_starts_at timestamptz, p_timezone text
) returns json
language sql stable
return json_build_object(
    'title', p_title, 'venue', p_venue, 'city', p_city, 'starts_at', p_starts_at,
    'timezone', p_timezone
);

-- `p_sold`: whether the order is completed, so that the line has a status.
create function orders.line(l orders.lines, p_sold boolean default false) returns json
language sql stable
return json_build_object(
    'id', l.ticket_id, 'show_id', l.show_id, 'seller_id', l.seller_id, 'price', l.price,
    'fee', l.fee, 'title', l.title, 'section', l.section, 'row', l."row", 'seat', l.seat,
    'status', case when p_sold then l.status end, 'refund_reason', l.refund_reason,
    'show', orders.show(
        l.show_title, l.show_venue, l.show_city, l.show_starts_at, l.show_timezone
    )
);

-- `p_refunded` is the amount of the lines that are refunded.
create function orders.state(o orders.orders, p_lines json, p_refunded bigint default 0)
returns json
language sql stable
return json_build_object(
    'id', o.id, 'number', o.number, 'buyer_id', o.buyer_id, 'status', o.status,
    'subtotal', o.subtotal, 'fee', o.fee, 'total', o.total, 'refunded', p_refunded,
    'currency', o.currency, 'expires_at', o.expires_at, 'extended_at', o.extended_at,
    'payment_id', o.payment_id, 'version', o.version, 'created_at', o.created_at,
    'tickets', p_lines
);

create function orders.state(o orders.orders) returns json
language sql stable
return (
    select orders.state(
        o,
        json_agg(
            orders.line(l, o.status in ('completed', 'refund_pending', 'refunded'))
            order by l.ticket_id
        ),
        coalesce(sum(l.price + l.fee) filter (where l.status = 'refunded'), 0)::bigint
    )
    from orders.lines l where l.order_id = o.id
);

-- An unpaid order past its time reads as expired.
create function orders.effective_status(o orders.orders, p_now timestamptz) returns text
language sql immutable
return case
    when o.status in ('pending', 'awaiting_payment') and o.expires_at <= p_now then 'expired'
    else o.status
end;

-- Append an event of the order in its present state.
create function orders.append_event(p_type text, o orders.orders) returns void
language plpgsql
as $$
begin
    insert into events.outbox (type, subject, version, data, correlation_id)
    values (p_type, o.id, o.version, orders.state(o), events.correlation_id());
end
$$;

-- The order's JSON, for the service of payments: its reply to a refund contains it.
create function orders.read(p_order uuid) returns json
language sql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    select orders.state(o) from orders.orders o where o.id = p_order
$$;

-- The shows of an order whose place or time has changed since it was placed, or that are postponed
-- or cancelled: a JSON object with each show as it is now and its status, by its id.
create function orders.changed_shows(p_order uuid) returns json
language sql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    select coalesce(json_object_agg(s.id, json_build_object(
        'title', s.title, 'venue', s.venue, 'city', s.city, 'starts_at', s.starts_at,
        'timezone', s.timezone, 'status', s.status
    ) order by s.id), '{}')
    from (
        select distinct l.show_id, l.show_venue, l.show_city, l.show_starts_at, l.show_timezone
        from orders.lines l where l.order_id = p_order
    ) as bought
    join tickets.shows s on s.id = bought.show_id
    where (s.venue, s.city, s.starts_at, s.timezone) is distinct from (
        bought.show_venue, bought.show_city, bought.show_starts_at, bought.show_timezone
    ) or s.status <> 'on_sale'
$$;

-- The ids of the tickets on the order's lines.
create function orders.tickets_of(p_order uuid) returns uuid[]
language sql stable
return array(select l.ticket_id from orders.lines l where l.order_id = p_order);

-- The lowest id that an order of this time can have: a UUIDv7 begins with the Unix time in
-- milliseconds.
create function orders.id_at(p_time timestamptz) returns uuid
language sql stable
return rpad(lpad(to_hex((extract(epoch from p_time) * 1000)::bigint), 12, '0'), 32, '0')::uuid;

grant execute on function
    orders.show, orders.line, orders.state(orders.orders, json, bigint),
    orders.state(orders.orders), orders.tickets_of,
    orders.id_at, orders.changed_shows, orders.effective_status
to gittix_orders;
grant execute on function orders.read, orders.changed_shows to gittix_payments;
