-- Records each transition in `tickets.audit` and raises for one that `tickets.transitions` lacks.
create or replace function tickets.record_transitions() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan made for one row must not run for a thousand
as $$
begin
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
    where o.status <> n.status or o.order_id <> n.order_id;
    return null;
end
$$;
