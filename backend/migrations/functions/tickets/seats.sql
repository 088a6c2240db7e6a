-- A ticket that changes its seat claims the new one, also if it shared its former one with another
-- ticket from before the rule. The index `tickets_one_per_seat` refuses a claimed seat.
create or replace function tickets.claim_seat() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    new.claims_seat := new.status <> 'withdrawn';
    return new;
end
$$;
