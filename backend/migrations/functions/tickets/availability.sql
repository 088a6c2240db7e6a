-- A hold ends with `held_until`: from then on the ticket reads as available, although its row has
-- the status held.
create function tickets.effective_status(p_status text, p_held_until timestamptz, p_now timestamptz)
returns text
language sql immutable parallel safe
return case when p_status = 'held' and p_held_until <= p_now then 'available' else p_status end;

-- Whether a buyer may take the ticket: its effective status is available.
create function tickets.is_free(
    p_status text, p_held_until timestamptz, p_now timestamptz
) returns boolean
language sql immutable parallel safe
return p_status = 'available' or (p_status = 'held' and p_held_until <= p_now);

grant execute on function tickets.effective_status, tickets.is_free to gittix_tickets, gittix_check;
