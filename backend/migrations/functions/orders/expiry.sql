-- Expire what is due, `p_limit` orders at the most. Returns the number of orders that it found.
--
-- An order past its time may have no ticket left: its seller withdrew it. Such a one is expired by a run that has released
-- nothing, so that others keep the lock order, tickets first; a lock that somebody has means that somebody decides.
create function orders.expire_due(p_limit int, p_correlation uuid) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
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
create procedure orders.expire_batches(
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

grant execute on function orders.expire_due to gittix_orders;

grant execute on procedure orders.expire_batches to gittix_orders;
