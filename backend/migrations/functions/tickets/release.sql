-- Release the tickets that this order has in one of the states `p_from`. Returns their number.
create function tickets.release(
    p_order uuid, p_tickets uuid[], p_from text[] default array['held']
) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_released int;
begin
    perform 1 from tickets.tickets t
    where t.id = any (p_tickets) and t.order_id = p_order order by t.id for no key update;
    with freed as (
        update tickets.tickets t
        set status = 'available', order_id = null, held_until = null, version = t.version + 1,
            updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.order_id = p_order and t.status = any (p_from)
        returning t as ticket, tickets.handle_of(t.seller_id) as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.released', (ticket).id, (ticket).version,
               tickets.state(ticket, handle, p_order), events.correlation_id()
        from freed order by (ticket).id
    )
    select count(*) into v_released from freed;
    return v_released;
end
$$;

-- Release the tickets of the orders whose holds have all expired. The order of `p_tickets[n]` is
-- `p_orders[n]`. `released` has the orders that lost their tickets; `bare` has the orders that had
-- no ticket.
--
-- An order is skipped when another transaction has locked one of its tickets: that transaction
-- decides about it. If it stays due, the caller's next call finds it.
create function tickets.release_due(
    p_orders uuid[], p_tickets uuid[], out released uuid[], out bare uuid[]
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan made for a few rows must not run for a thousand
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_whole uuid[];
begin
    with theirs as (
        select t.order_id, count(*) as tickets
        from tickets.tickets t
        join unnest(p_orders, p_tickets) w (order_id, id) using (order_id, id)
        where t.id = any (p_tickets)
        group by t.order_id
    ), locked as materialized (
        select t.order_id, t.id
        from tickets.tickets t
        join unnest(p_orders, p_tickets) w (order_id, id) using (order_id, id)
        where t.id = any (p_tickets) and t.status = 'held' and t.held_until <= v_now
        order by t.id
        for no key update of t skip locked
    )
    select array_agg(l.id), array(select unnest(p_orders) except select theirs.order_id from theirs)
    into v_whole, bare
    from (
        select locked.order_id, locked.id,
               count(*) over (partition by locked.order_id) as tickets
        from locked
    ) l
    join theirs using (order_id, tickets);

    with freed as (
        update tickets.tickets t
        set status = 'available', order_id = null, held_until = null, version = t.version + 1,
            updated_at = clock_timestamp()
        where t.id = any (v_whole)
        returning old.order_id as order_id, new as ticket,
                  tickets.handle_of(new.seller_id) as handle
    ), appended as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.released', (ticket).id, (ticket).version,
               tickets.state(ticket, handle, freed.order_id), events.correlation_id()
        from freed order by (ticket).id
    )
    select coalesce(array_agg(distinct freed.order_id), '{}') into released from freed;
end
$$;

grant execute on function tickets.release, tickets.release_due to gittix_orders;
