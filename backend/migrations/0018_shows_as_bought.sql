-- squawk-ignore-file adding-not-nullable-field
-- Every line gets its show before another transaction may write to orders.lines, so the table is
-- locked until the end in any case.

-- The show of the line's ticket as it was when the order was placed.
alter table orders.lines add column show_title text;
alter table orders.lines add column show_venue text;
alter table orders.lines add column show_city text;
alter table orders.lines add column show_starts_at timestamptz;
alter table orders.lines add column show_timezone text;

-- The functions that the triggers call do not exist while migrations run.
alter table orders.lines disable trigger user;

-- An earlier order gets the show as it is now, since nothing has it as it was.
update orders.lines l
set show_title = s.title, show_venue = s.venue, show_city = s.city, show_starts_at = s.starts_at,
    show_timezone = s.timezone
from tickets.shows s
where s.id = l.show_id;

alter table orders.lines enable trigger user;

alter table orders.lines alter column show_title set not null;
alter table orders.lines alter column show_venue set not null;
alter table orders.lines alter column show_city set not null;
alter table orders.lines alter column show_starts_at set not null;
alter table orders.lines alter column show_timezone set not null;

-- A reply that is stored under an idempotency key is an order as it was placed.
update orders.idempotency_keys k
set body = convert_to((placed.body || jsonb_build_object('tickets', placed.tickets))::text, 'UTF8')
from (
    select stored.user_id, stored.key, stored.body, jsonb_agg(
        line.value || jsonb_build_object('show', jsonb_build_object(
            'title', l.show_title, 'venue', l.show_venue, 'city', l.show_city,
            'starts_at', l.show_starts_at, 'timezone', l.show_timezone
        )) order by line.place
    ) as tickets
    from (
        select s.user_id, s.key, convert_from(s.body, 'UTF8')::jsonb as body
        from orders.idempotency_keys s where s.status = 201
    ) as stored
    cross join jsonb_array_elements(stored.body -> 'tickets') with ordinality as line (value, place)
    join orders.lines l
        on l.order_id = (stored.body ->> 'id')::uuid
        and l.ticket_id = (line.value ->> 'id')::uuid
    group by stored.user_id, stored.key, stored.body
) as placed
where k.user_id = placed.user_id and k.key = placed.key;
