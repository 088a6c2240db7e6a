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

-- Live counts of a show.
--
-- `version` is the sum of the versions of the show and its tickets. It grows with each change of
-- any of them, and no row is written by all buyers of the show. A show usually has tickets of one
-- currency; otherwise `currency` is the one with the most free tickets. `from_price` is the lowest
-- price of a free ticket in it, `next_free_at` the earliest end of a hold.
create function tickets.availability(
    p_show uuid, out available int, out held int, out sold int, out from_price bigint,
    out currency text, out next_free_at timestamptz, out version bigint
)
language sql stable
as $$
    select coalesce(sum(free), 0)::int,
           coalesce(sum(taken), 0)::int,
           coalesce(sum(gone), 0)::int,
           (array_agg(lowest order by free desc, code))[1],
           (array_agg(code order by free desc, code))[1],
           min(soonest),
           (select s.version from tickets.shows s where s.id = p_show)
           + coalesce(sum(versions), 0)::bigint
    from (
        select t.currency as code,
               count(*) filter (where f.free) as free,
               count(*) filter (where t.status = 'reserved' or f.held) as taken,
               count(*) filter (where t.status = 'sold') as gone,
               min(t.price) filter (where f.free) as lowest,
               min(t.held_until) filter (where f.held) as soonest,
               sum(t.version) as versions
        from tickets.tickets t
        cross join lateral (
            select tickets.is_free(t.status, t.held_until, now()) as free,
                   t.status = 'held' and t.held_until > now() as held
        ) f
        where t.show_id = p_show
        group by t.currency
    ) by_currency
$$;
grant execute on function tickets.effective_status, tickets.is_free, tickets.availability
to gittix_tickets, gittix_check;
