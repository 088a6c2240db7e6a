-- The request of a transaction: its correlation id and its user.
-- Both are settings that are local to the transaction. A caller binds the correlation id in the
-- statement that calls a function, so that it costs no round trip:
--
--     select orders.cancel($1, $2) from events.bind_correlation($3)

create function events.refuse_unbound() returns uuid
language plpgsql stable
as $$
begin
    raise exception 'no correlation id is bound: select … from events.bind_correlation(id)';
end
$$;

create function events.bind_correlation(p_correlation uuid) returns text
language sql volatile
return set_config('gittix.correlation', p_correlation::text, true);

-- The bound correlation id. Raises if the transaction has none.
create function events.correlation_id() returns uuid
language sql stable
return coalesce(
    nullif(current_setting('gittix.correlation', true), '')::uuid, events.refuse_unbound()
);

-- Bind the acting user of the transaction, null for a worker; the audit triggers read it.
create function events.act_for(p_actor uuid) returns text
language sql volatile
return set_config('gittix.actor', coalesce(p_actor::text, ''), true);

grant execute on function events.bind_correlation
to gittix_auth, gittix_tickets, gittix_orders, gittix_payments;
