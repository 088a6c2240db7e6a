-- Append an event to the outbox, caused by the event `p_causation` if given. Raises
-- insufficient_privilege for an event about another service's subject.
create function events.append(
    p_type text, p_subject uuid, p_version bigint, p_data json, p_causation uuid default null
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not split_part(p_type, '.', 1) = any (
        case session_user
            when 'gittix_auth' then array['user']
            when 'gittix_tickets' then array['show', 'ticket']
            when 'gittix_orders' then array['order']
            when 'gittix_payments' then array['payment']
            else array[]::text[]
        end
    ) then
        raise insufficient_privilege
        using message = format('%s may not append %s', session_user, p_type);
    end if;
    insert into events.outbox (type, subject, version, data, correlation_id, causation_id)
    values (p_type, p_subject, p_version, p_data, events.correlation_id(), p_causation);
end
$$;
grant execute on function events.append
to gittix_auth, gittix_tickets, gittix_orders, gittix_payments;
