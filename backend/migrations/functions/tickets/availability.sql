-- What counts is the row's time: a hold past it reads as available.
create function tickets.effective_status(p_status text, p_held_until timestamptz, p_now timestamptz)
returns text
language sql immutable parallel safe
return case when p_status = 'held' and p_held_until <= p_now then 'available' else p_status end;

create function tickets.is_free(p_status text, p_held_until timestamptz, p_now timestamptz) returns boolean
language sql immutable parallel safe
return p_status = 'available' or (p_status = 'held' and p_held_until <= p_now);

-- Live counts of a show. `version` is the sum of its parts' versions, so it grows with each change of any of them and
-- no row is shared by all the show's buyers. A show has tickets of one currency as a rule; else the commonest counts.
-- `next_free_at` is when the first of its holds ends, should it end unpaid.
create function tickets.availability(
    p_show uuid, out available int, out held int, out sold int, out from_price bigint, out currency text,
    out next_free_at timestamptz, out version bigint
)
language sql stable
as $$
    select coalesce(sum(free), 0)::int,
           coalesce(sum(taken), 0)::int,
           coalesce(sum(gone), 0)::int,
           (array_agg(lowest order by free desc, code))[1],
           (array_agg(code order by free desc, code))[1],
           min(soonest),
           (select s.version from tickets.shows s where s.id = p_show) + coalesce(sum(versions), 0)::bigint
    from (
        select t.currency as code,
               count(*) filter (where tickets.is_free(t.status, t.held_until, now())) as free,
               count(*) filter (where t.status = 'reserved' or t.status = 'held' and t.held_until > now()) as taken,
               count(*) filter (where t.status = 'sold') as gone,
               min(t.price) filter (where tickets.is_free(t.status, t.held_until, now())) as lowest,
               min(t.held_until) filter (where t.status = 'held' and t.held_until > now()) as soonest,
               sum(t.version) as versions
        from tickets.tickets t
        where t.show_id = p_show
        group by t.currency
    ) by_currency
$$;

grant execute on function tickets.effective_status, tickets.is_free, tickets.availability to gittix_tickets;
