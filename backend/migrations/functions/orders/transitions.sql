-- Records each transition in `orders.audit` and raises for one that `orders.transitions` lacks.
create or replace function orders.record_transitions() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan made for one row must not run for a thousand
as $$
begin
    insert into orders.audit (
        order_id, version, from_status, to_status, payment_id,
        actor_id, correlation_id
    )
    select n.id, n.version, o.status,
           coalesce(
               (
                   select a.to_status from orders.transitions a
                   where a.from_status = o.status and a.to_status = n.status
               ),
               events.refuse_transition('orders', o.status, n.status)
           ),
           n.payment_id,
           nullif(current_setting('gittix.actor', true), '')::uuid,
           nullif(current_setting('gittix.correlation', true), '')::uuid
    from before o join after n using (id)
    where o.status <> n.status;
    return null;
end
$$;
