-- Place an order: its tickets held, its lines, fee and total frozen, its events and the reply under its idempotency
-- key stored, in one transaction and one round trip.
--
-- `outcome` is placed or replayed with the reply's `status` and `body`; key_in_flight, key_reused, too_many_open_orders; cooling_down
-- with the time when that ends; or why `tickets.hold` refused, with the ticket and, when it is known, the end of the hold
-- in the way. Both times are by the clock that says `decided_at`. Too many tickets of a show are known only when they are held: that raises GT002, which undoes everything.
-- `p_max_unpaid` may be null: no cooldown.
create function orders.place(
    p_buyer uuid, p_tickets uuid[], p_hold interval, p_grace interval, p_fee_percent numeric, p_max_open int,
    p_max_per_show int, p_max_unpaid int, p_cooldown interval, p_correlation uuid, p_key text, p_fingerprint bytea,
    out outcome text, out status int, out body text, out refused uuid, out refused_until timestamptz,
    out decided_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
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
        from orders.idempotency_keys k
        where k.user_id = p_buyer and k.key = p_key and k.created_at > now() - interval '1 day';
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
        insert into orders.idempotency_keys as k (user_id, key, fingerprint, status, headers, body)
        select p_buyer, p_key, p_fingerprint, 201, '{"content-type": "application/json"}',
               convert_to(replied.body, 'UTF8')
        from replied where p_key is not null
        -- The row of a key that is older than a day waits for the hourly purge.
        on conflict (user_id, key) do update
        set fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
            body = excluded.body, created_at = excluded.created_at
    )
    select 'placed', 201, replied.body into outcome, status, body from replied;
end
$$;

grant execute on function orders.place to gittix_orders;
