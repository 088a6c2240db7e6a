-- A seller who refunds a sale may list the ticket, or its seat, again at most at the price of that
-- sale, in its currency. Otherwise a seller could take a ticket back to sell it for more.

-- The seller refunds these sold tickets of the order: cap their prices.
create function tickets.cap_prices(p_order uuid, p_tickets uuid[]) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
    with capped as (
        update tickets.tickets t set price_cap = t.price
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = 'sold'
        returning t.*
    )
    insert into tickets.price_caps as c (show_id, seller_id, section, "row", seat, currency, price)
    select t.show_id, t.seller_id, lower(btrim(coalesce(t.section, ''))),
           lower(btrim(coalesce(t."row", ''))), lower(btrim(t.seat)), t.currency, min(t.price)
    from capped t where btrim(t.seat) <> '' and t.claims_seat
    group by 1, 2, 3, 4, 5, 6
    on conflict (show_id, seller_id, section, "row", seat) do update
    set price = least(c.price, excluded.price);
end
$$;

-- Refuse a ticket that costs more than its own cap, or the one of its seat; prices of two
-- currencies are not compared, so another currency is refused as well. The detail is JSON.
--
-- Volatile, so that it reads what was committed while the insert waited for the seat: the refund of
-- a parallel transaction gives the seat free and caps it.
create or replace function tickets.check_price_cap() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_cap tickets.price_caps;
begin
    select * into v_cap from tickets.price_caps c
    where c.show_id = new.show_id and c.seller_id = new.seller_id
      and c.section = lower(btrim(coalesce(new.section, '')))
      and c."row" = lower(btrim(coalesce(new."row", '')))
      and c.seat = lower(btrim(coalesce(new.seat, '')));
    if new.price > v_cap.price or new.currency <> v_cap.currency then
        perform tickets.refuse_price(v_cap.price, v_cap.currency, v_cap);
    end if;
    if tg_op = 'UPDATE' and new.price_cap is not null
        and (new.price > new.price_cap or new.currency <> old.currency) then
        perform tickets.refuse_price(new.price_cap, old.currency, null);
    end if;
    return null;
end
$$;

-- The most that a ticket may cost in its currency, or null. The trigger refuses any price of a
-- ticket whose seat is capped in another currency.
create function tickets.price_cap_of(t tickets.tickets) returns bigint
language sql stable
return least(
    t.price_cap,
    (
        select case when c.currency = t.currency then c.price else 0 end
        from tickets.price_caps c
        where c.show_id = t.show_id and c.seller_id = t.seller_id
          and c.section = lower(btrim(coalesce(t.section, '')))
          and c."row" = lower(btrim(coalesce(t."row", '')))
          and c.seat = lower(btrim(coalesce(t.seat, '')))
    )
);
grant execute on function tickets.price_cap_of to gittix_tickets;

create function tickets.refuse_price(
    p_maximum bigint, p_currency text, p_seat tickets.price_caps
) returns void
language plpgsql
as $$
begin
    raise exception using
        errcode = 'check_violation', constraint = 'price_at_most_the_refunded',
        message = 'the price is above that of the refunded sale',
        detail = json_build_object(
            'maximum', p_maximum, 'currency', p_currency,
            'seat', array[p_seat.section, p_seat."row", p_seat.seat]
        );
end
$$;
