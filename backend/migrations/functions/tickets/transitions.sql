-- Records an update of tickets, in one statement since each hold runs it.
-- - Each transition is a row of `tickets.audit`. Raises for one that `tickets.transitions` lacks.
-- - `tickets.count_changes` gets what the new rows count, less what the old rows counted: two rows
--   for each ticket. Most updates change one ticket, and grouping costs more than the rows that it
--   saves (decision 32).
create or replace function tickets.record_update() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan made for one row must not run for a thousand
as $$
begin
    with audited as (
        insert into tickets.audit (
            ticket_id, version, from_status, to_status, from_order_id, to_order_id,
            actor_id, correlation_id
        )
        select n.id, n.version, o.status,
               coalesce(
                   (
                       select a.to_status from tickets.transitions a
                       where a.from_status = o.status and a.to_status = n.status
                   ),
                   events.refuse_transition('tickets', o.status, n.status)
               ),
               o.order_id, n.order_id,
               nullif(current_setting('gittix.actor', true), '')::uuid,
               nullif(current_setting('gittix.correlation', true), '')::uuid
        from before o join after n using (id)
        where o.status <> n.status or o.order_id <> n.order_id
    )
    insert into tickets.count_changes (
        show_id, section, currency, price, held_until, available, held, sold, version
    )
    select t.show_id, coalesce(t.section, ''), t.currency, t.price,
           case when not t.hidden then t.held_until end,
           t.sign * (t.status = 'available' and not t.hidden)::int,
           t.sign * (t.status = 'reserved' or (t.status = 'held' and not t.hidden))::int,
           t.sign * (t.status = 'sold')::int, t.sign * t.version
    from (
        select 1 as sign, n.show_id, n.section, n.currency, n.price, n.held_until, n.status,
               n.hidden, n.version
        from after n
        union all
        select -1, o.show_id, o.section, o.currency, o.price, o.held_until, o.status, o.hidden,
               o.version
        from before o
    ) t;
    return null;
end
$$;
