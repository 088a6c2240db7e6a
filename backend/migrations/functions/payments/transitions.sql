-- Payments need no audit beside their events: each status is one event, with its version and its
-- correlation id, and one user owns all of them.
create or replace function payments.check_transition() returns trigger
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select from payments.transitions a
        where a.from_status = old.status and a.to_status = new.status
    ) then
        perform events.refuse_transition('payments', old.status, new.status);
    end if;
    return new;
end
$$;

create or replace function payments.check_refund_transition() returns trigger
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not exists (
        select from payments.refund_transitions a
        where a.from_status = old.status and a.to_status = new.status
    ) then
        perform events.refuse_transition('refunds', old.status, new.status);
    end if;
    return new;
end
$$;
