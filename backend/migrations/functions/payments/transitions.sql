-- Both functions raise check_violation for a transition that their table lacks. Payments need no
-- audit beside their events: each change of a payment appends one event, with its version and its
-- correlation id, and all its events belong to one buyer.
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
