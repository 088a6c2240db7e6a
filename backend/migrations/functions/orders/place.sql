-- Place an order: hold its tickets, freeze its lines, fee and total, append its events and store
-- the reply under its idempotency key, in one transaction and one round trip.
--
-- `outcome` is one of
-- - placed: `body` is the order as `orders.state` builds it. It is stored under the key `p_key`
--   with the caller's `p_reply_status` and `p_reply_headers`.
-- - replayed: `status` and `body` are those stored under the key.
-- - key_in_flight, key_reused: another request has the key (`orders.claim_key`).
-- - too_many_open_orders, given_up, cooling_down: a limit of the buyer (`orders.check_limits`).
-- - a refusal by `tickets.hold`, with the refused ticket, and the end of the hold on it if known.
--
-- `refused_until` is the end of the hold or of the limit, by the clock of `decided_at`. The budgets
-- of `p_subjects` pay for the whole hold; `spent` is the one that lacks the amount. A payment or an
-- early end of the hold gives the rest back. Raises the errors of `orders/errors.sql`.
create function orders.place(
    p_buyer uuid, p_tickets uuid[], p_hold interval, p_grace interval, p_fee_percent numeric,
    p_max_open int, p_max_per_show int, p_rehold interval, p_subjects text[],
    p_hourly bigint[], p_key text, p_fingerprint bytea, p_key_lifetime interval,
    p_reply_status int, p_reply_headers jsonb,
    out outcome text, out status int, out body text, out refused uuid,
    out refused_until timestamptz, out spent text, out decided_at timestamptz
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_id uuid := uuidv7();
    v_step record;
    v_many boolean;
    v_amount double precision := cardinality(p_tickets) * extract(epoch from p_hold);
begin
    v_step := orders.claim_key(p_buyer, p_key, p_fingerprint, p_key_lifetime);
    if v_step.outcome is not null then
        outcome := v_step.outcome;
        status := v_step.status;
        body := v_step.body;
        return;
    end if;
    v_step := orders.check_limits(
        p_buyer, p_tickets, 2 * p_hold + p_grace, p_max_open, p_max_per_show, p_rehold, p_subjects,
        v_amount
    );
    decided_at := v_step.decided_at;
    spent := v_step.spent;
    v_many := v_step.has_many;
    if v_step.outcome is null then
        v_step := tickets.hold(v_id, p_buyer, p_tickets, decided_at + p_hold, null, null);
    end if;
    if v_step.outcome = 'displaces' then
        v_step := orders.take_over(v_id, p_buyer, p_tickets, decided_at + p_hold, v_step.displaced);
    end if;
    if v_step.outcome <> 'held' then
        outcome := v_step.outcome;
        refused := v_step.refused;
        refused_until := v_step.refused_until;
        return;
    end if;
    if v_many and orders.exceeds_limit_of_show(p_buyer, v_step.held, p_max_per_show) then
        perform orders.raise_error('too_many_tickets_of_show');
    end if;
    outcome := 'placed';
    v_amount := orders.ticket_seconds(v_step.held, decided_at);
    body := orders.insert_order(
        v_id, p_buyer, v_step.held, decided_at, p_grace, p_fee_percent,
        orders.charge(p_subjects, p_hourly, v_amount), p_key, p_fingerprint, p_key_lifetime,
        p_reply_status, p_reply_headers
    );
end
$$;
grant execute on function orders.place to gittix_orders;

-- The functions below are steps of `orders.place`: they run with its rights and its settings.

-- Lock the buyer's idempotency key and read its reply. `outcome` is null for a new key and without
-- one; key_in_flight when another transaction has the lock; key_reused when the stored fingerprint
-- differs; replayed with the stored reply.
create function orders.claim_key(
    p_buyer uuid, p_key text, p_fingerprint bytea, p_key_lifetime interval,
    out outcome text, out status int, out body text
)
language plpgsql
as $$
begin
    if p_key is null then
        return;
    end if;
    if not pg_try_advisory_xact_lock(
        hashtextextended('orders:' || p_buyer || ':' || p_key, 0)
    ) then
        outcome := 'key_in_flight';
        return;
    end if;
    select case when k.fingerprint = p_fingerprint then 'replayed' else 'key_reused' end,
           k.status, convert_from(k.body, 'UTF8')
    into outcome, status, body
    from orders.idempotency_keys k
    where k.user_id = p_buyer and k.key = p_key and k.created_at > now() - p_key_lifetime;
end
$$;

-- Hold the tickets although the orders `p_displaced` have expired holds on them. These orders
-- expire here: their other tickets are released and they are closed. Returns the result of
-- `tickets.hold`. Raises displaced_busy.
create function orders.take_over(
    p_order uuid, p_buyer uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[]
) returns record
language plpgsql
as $$
declare
    v_beside uuid[] := array(
        select l.ticket_id from orders.lines l where l.order_id = any (p_displaced)
    );
    v_hold record := tickets.hold(
        p_order, p_buyer, p_tickets, p_until, p_displaced, v_beside
    );
    v_order uuid;
begin
    if v_hold.outcome <> 'held' or v_hold.displaced is null then
        return v_hold;
    end if;
    begin
        for v_order in select distinct id from unnest(v_hold.displaced) o (id) loop
            perform tickets.release(v_order, orders.tickets_of(v_order));
        end loop;
        perform orders.close(v_hold.displaced, 'expired');
    exception when lock_not_available then
        perform orders.raise_error('displaced_busy');
    end;
    return v_hold;
end
$$;

-- The cost of an order for these tickets of one currency, with the fee of each. The fee is rounded
-- once, half away from zero, so that the total ends in the step of the currency. The fee also
-- completes the step of tickets that were listed before prices had to. Raises total_too_small and
-- total_too_large.
create function orders.cost(
    p_held tickets.tickets[], p_fee_percent numeric,
    out subtotal bigint, out total bigint, out fees bigint[]
)
language plpgsql stable
as $$
declare
    v_refusal text;
    v_step bigint;
begin
    subtotal := (p_held[1]).price;
    if cardinality(p_held) > 1 then
        subtotal := (select sum(t.price) from unnest(p_held) t);
    end if;
    select r.total, r.step, case
               when r.total < r.minimum then 'total_too_small'
               when r.total > r.maximum then 'total_too_large'
           end
    into total, v_step, v_refusal
    from (
        select c.step, c.minimum, c.maximum, c.step * greatest(
            round(subtotal * (100 + p_fee_percent) / (100 * c.step)),
            ceil(subtotal::numeric / c.step)
        ) as total
        from tickets.currencies c where c.code = (p_held[1]).currency
    ) r;
    if v_refusal is not null then
        perform orders.raise_error(v_refusal, (p_held[1]).currency);
    end if;
    fees := case cardinality(p_held)
        when 1 then array[total - subtotal] else orders.fees(p_held, subtotal, total, v_step)
    end;
end
$$;

-- The fee of each ticket. The price and the fee of a line are together what its amount adds to that
-- of the lines before it, so the lines add up to the total.
create function orders.fees(
    p_held tickets.tickets[], p_subtotal bigint, p_total bigint, p_step bigint
) returns bigint[]
language plpgsql immutable
as $$
declare
    v_fees bigint[];
    v_prices bigint := 0;
    v_amount bigint := 0;
    v_next bigint;
begin
    for n in 1..cardinality(p_held) loop
        v_prices := v_prices + (p_held[n]).price;
        v_next := orders.amount_until(v_prices, p_subtotal, p_total, p_step);
        v_fees[n] := v_next - v_amount - (p_held[n]).price;
        v_amount := v_next;
    end loop;
    return v_fees;
end
$$;

-- The amount of the first lines of an order, whose prices add up to `p_prices`, rounded to the step
-- of the currency.
create function orders.amount_until(
    p_prices bigint, p_subtotal bigint, p_total bigint, p_step bigint
) returns bigint
language sql immutable
return case p_prices
    when p_subtotal then p_total
    else p_step * round(p_total::numeric * p_prices / (p_subtotal::numeric * p_step))
end;

-- The ticket-seconds of a hold from `p_at`, which may end earlier than the caller of `tickets.hold`
-- wanted.
create function orders.ticket_seconds(p_held tickets.tickets[], p_at timestamptz)
returns double precision
language sql immutable
return cardinality(p_held) * extract(epoch from (p_held[1]).held_until - p_at);

-- Insert the order with its lines, append `order.created`, and store the order's JSON as the reply
-- under its key, if it has one, in the place of a reply that is past its lifetime. Returns the
-- JSON. Raises total_too_small and total_too_large.
create function orders.insert_order(
    p_id uuid, p_buyer uuid, p_held tickets.tickets[], p_at timestamptz, p_grace interval,
    p_fee_percent numeric, p_charged bigint[], p_key text, p_fingerprint bytea,
    p_key_lifetime interval, p_reply_status int, p_reply_headers jsonb
) returns text
language plpgsql
as $$
declare
    v_cost record := orders.cost(p_held, p_fee_percent);
    v_state json;
begin
    with lined as (
        insert into orders.lines (
            order_id, buyer_id, ticket_id, show_id, seller_id, price, fee, title, section, "row",
            seat, show_title, show_venue, show_city, show_starts_at, show_timezone
        )
        select p_id, p_buyer, t.id, t.show_id, t.seller_id, t.price, v_cost.fees[t.ordinality],
               t.title, t.section, t."row", t.seat, s.title, s.venue, s.city, s.starts_at,
               s.timezone
        from unnest(p_held) with ordinality t join tickets.shows s on s.id = t.show_id
        returning ticket_id, orders.line(lines) as line
    ), inserted as (
        insert into orders.orders (
            id, number, buyer_id, subtotal, fee, total, currency, expires_at, latest_expiry,
            created_at, updated_at, charged_to
        )
        values (
            p_id, orders.free_number(), p_buyer, v_cost.subtotal, v_cost.total - v_cost.subtotal,
            v_cost.total, (p_held[1]).currency, (p_held[1]).held_until,
            (p_held[1]).held_until + p_grace, p_at, p_at, p_charged
        )
        returning version, orders.state(
            orders, (select json_agg(lined.line order by lined.ticket_id) from lined)
        ) as state
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'order.created', p_id, inserted.version, inserted.state, events.correlation_id()
        from inserted
    ), stored as (
        insert into orders.idempotency_keys as k (user_id, key, fingerprint, status, headers, body)
        select p_buyer, p_key, p_fingerprint, p_reply_status, p_reply_headers,
               convert_to(inserted.state::text, 'UTF8')
        from inserted where p_key is not null
        on conflict (user_id, key) do update
        set fingerprint = excluded.fingerprint, status = excluded.status,
            headers = excluded.headers, body = excluded.body, created_at = excluded.created_at
        where k.created_at <= now() - p_key_lifetime
    )
    select inserted.state into v_state from inserted;
    return v_state;
end
$$;
