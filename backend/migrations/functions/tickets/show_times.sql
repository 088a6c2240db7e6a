-- Whether tickets of a show with this status and these times are on sale. Sales end at the start,
-- unless the owner has set another time. No ticket is listed, held or paid for from then on;
-- design.md has the rule for payments under way.
create function tickets.is_selling(
    p_status text, p_starts_at timestamptz, p_sales_end_at timestamptz, p_now timestamptz
) returns boolean
language sql immutable parallel safe
return p_status = 'on_sale' and coalesce(p_sales_end_at, p_starts_at) > p_now;

-- Whether the show is over: its end has passed, or its start if no end is known.
create function tickets.is_over(
    p_starts_at timestamptz, p_ends_at timestamptz, p_now timestamptz
) returns boolean
language sql immutable parallel safe
return coalesce(p_ends_at, p_starts_at) <= p_now;

grant execute on function tickets.is_selling, tickets.is_over to gittix_tickets;

-- Whether one of these tickets is no longer on sale.
create function tickets.sales_have_ended(p_tickets uuid[], p_now timestamptz) returns boolean
language sql stable
begin atomic
    select exists (
        select from tickets.tickets t join tickets.shows s on s.id = t.show_id
        where t.id = any (p_tickets)
          and not tickets.is_selling(s.status, s.starts_at, s.sales_end_at, p_now)
    );
end;

-- Whether the show of one of these tickets is postponed or cancelled.
create function tickets.are_called_off(p_tickets uuid[]) returns boolean
language sql stable
begin atomic
    select exists (
        select from tickets.tickets t join tickets.shows s on s.id = t.show_id
        where t.id = any (p_tickets) and s.status <> 'on_sale'
    );
end;

-- The first end of sales of the shows of these tickets.
create function tickets.sales_end_of(p_tickets uuid[]) returns timestamptz
language sql stable
begin atomic
    select min(coalesce(s.sales_end_at, s.starts_at))
    from tickets.tickets t join tickets.shows s on s.id = t.show_id
    where t.id = any (p_tickets);
end;

-- Set the time of the start by the clocks at the venue. The API accepts no zone that Postgres does
-- not know; for one of an earlier version, the clocks are those of UTC.
create or replace function tickets.set_local_start() returns trigger
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    new.local_start := new.starts_at at time zone new.timezone;
    return new;
exception when invalid_parameter_value then
    new.local_start := new.starts_at at time zone 'UTC';
    return new;
end
$$;
