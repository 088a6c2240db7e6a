-- squawk-ignore-file require-concurrent-index-creation, constraint-missing-not-valid
-- Seats are marked before another transaction may list one, so the table is locked until the end in
-- any case, and an index that is built concurrently would gain nothing.

-- Whether no other ticket may have the ticket's seat. A withdrawn ticket claims none. A column of
-- its own, because an index whose condition has `status` would be written at each hold
-- (decision 22).
alter table tickets.tickets add column claims_seat boolean not null default true;

-- The functions that the triggers call do not exist while migrations run.
alter table tickets.tickets disable trigger user;

-- Of the tickets that share a seat already, one claims it: the first that is sold, else that is
-- being bought, else that was listed. The others stay as they are, until their seller changes the
-- seat or withdraws them.
update tickets.tickets t set claims_seat = false
from (
    select d.id, d.status, row_number() over (
        partition by d.show_id, lower(btrim(coalesce(d.section, ''))),
                     lower(btrim(coalesce(d."row", ''))), lower(btrim(coalesce(d.seat, ''))),
                     d.status = 'withdrawn'
        order by array_position(array['sold', 'reserved', 'held', 'available'], d.status), d.id
    ) as place
    from tickets.tickets d
) as ranked
where ranked.id = t.id
  and (t.status = 'withdrawn' or (ranked.place > 1 and btrim(coalesce(t.seat, '')) <> ''));

alter table tickets.tickets enable trigger user;

alter table tickets.tickets add constraint tickets_withdrawn_claims_no_seat check (
    not (claims_seat and status = 'withdrawn')
);
create unique index tickets_one_per_seat on tickets.tickets (
    show_id, lower(btrim(coalesce(section, ''))), lower(btrim(coalesce("row", ''))),
    lower(btrim(seat))
) where claims_seat and btrim(seat) <> '';
