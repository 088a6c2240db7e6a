-- Sets the handle that the tickets of a seller show. Called by the trigger of accounts, in the
-- transaction that changes the handle.
create function tickets.name_seller(p_id uuid, p_handle text) returns void
language sql volatile
begin atomic
insert into tickets.sellers (id, handle) values (p_id, p_handle)
on conflict (id) do update set handle = excluded.handle;
end;

-- The handle of a seller; empty for a seller that no service has stored, since an event without a
-- text would be a dead letter. In plpgsql, so that Postgres keeps its plan and can inline
-- `tickets.state`, which calls it.
create function tickets.handle_of(p_seller uuid) returns text
language plpgsql stable parallel safe
as $$
begin
    return coalesce((select s.handle from tickets.sellers s where s.id = p_seller), '');
end
$$;
grant execute on function tickets.handle_of to gittix_tickets;
