-- Expire at most `p_limit` orders with an ended hold, except `p_except`. Returns the number of
-- expired orders. An error undoes all of them; `orders.expire` can then expire each alone.
create function orders.expire_due(p_limit int, p_except uuid[] default '{}') returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
begin
    return orders.expire(orders.due(p_limit, p_except));
end
$$;

-- The orders with an ended hold, except `p_except`, the first end first; at most `p_limit`.
create function orders.due(p_limit int, p_except uuid[]) returns uuid[]
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_now timestamptz := clock_timestamp();  -- a variable, since an index needs a stable value
begin
    return array(
        select o.id from orders.orders o
        where o.status in ('pending', 'awaiting_payment') and o.expires_at <= v_now
          and o.id <> all (p_except)
        order by o.expires_at limit p_limit
    );
end
$$;

-- Expire those of the orders with an ended hold. Returns their number.
--
-- An order may have no ticket left, because its seller withdrew it. It is expired only by a call
-- that has released no ticket, so that every transaction locks tickets before orders. A locked
-- order is skipped: the transaction that has the lock decides about it.
create function orders.expire(p_orders uuid[]) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_lines_orders uuid[];
    v_lines_tickets uuid[];
    v_orders uuid[];
    v_bare uuid[];
begin
    -- After a crash, an expiry that was not on disk is due again. A transaction that has seen it,
    -- of the relay or of the next buyer, commits later and so writes it to disk too.
    perform set_config('synchronous_commit', 'off', true);
    perform events.act_for(null);
    -- Arrays pass the ids from step to step, so that each step reads its rows by an index. A join
    -- would depend on the planner's estimate of the number of due orders.
    select array_agg(l.order_id), array_agg(l.ticket_id) into v_lines_orders, v_lines_tickets
    from orders.lines l where l.order_id = any (p_orders);
    select released, bare into v_orders, v_bare
    from tickets.release_due(v_lines_orders, v_lines_tickets);
    if cardinality(v_orders) = 0 then
        v_orders := array(
            select o.id from orders.orders o
            where o.id = any (v_bare) and o.status in ('pending', 'awaiting_payment')
              and o.expires_at <= clock_timestamp()
            order by o.id
            for no key update skip locked
        );
    end if;
    if cardinality(v_orders) > 0 then
        perform orders.close(v_orders, 'expired');
    end if;
    return cardinality(v_orders);
end
$$;

-- Expire due orders, except `p_except`, in at most `p_batches` batches and commit each, so that its
-- tickets are free at once. Adds the number of expired orders to `p_orders`. Must not run inside a
-- transaction. The correlation id is a parameter here, because a bound one ends with each commit.
create procedure orders.expire_batches(
    p_limit int, p_batches int, p_except uuid[], p_correlation uuid,
    inout p_orders int default 0
)
language plpgsql
as $$
declare
    v_expired int;
begin
    for n in 1 .. p_batches loop
        perform events.bind_correlation(p_correlation);
        v_expired := orders.expire_due(p_limit, p_except);
        commit;
        p_orders := p_orders + v_expired;
        exit when v_expired < p_limit;
    end loop;
end
$$;

grant execute on function orders.expire_due, orders.due, orders.expire to gittix_orders;
grant execute on procedure orders.expire_batches to gittix_orders;
