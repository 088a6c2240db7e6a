-- squawk-ignore-file require-concurrent-index-creation, adding-field-with-default
-- The new column writes the table again, so readers and writers of tickets wait until the end.

-- Whether the ticket is sold or withdrawn. Indexes have this column in place of `status`, which
-- each hold changes: Postgres compares the values of the column, so a hold that leaves the ticket
-- open writes to no index (decision 22).
alter table tickets.tickets
add column closed boolean not null generated always as (status in ('sold', 'withdrawn')) stored;

-- Of a section, the open tickets first.
create index tickets_section
on tickets.tickets (show_id, coalesce(section, ''), closed, id) where not hidden;
-- The cheapest open tickets of a show.
create index tickets_open_price
on tickets.tickets (show_id, closed, currency, price, id) where not hidden;

-- The section of a ticket without one is empty.
alter table tickets.count_changes add column section text not null default '';

create table tickets.section_counts (
    show_id uuid not null,
    section text not null,
    currency text not null,
    available bigint not null,
    held bigint not null,
    sold bigint not null,
    primary key (show_id, section, currency)
) with (fillfactor = 50);

create table tickets.section_price_counts (
    show_id uuid not null,
    section text not null,
    currency text not null,
    price bigint not null,
    available bigint not null,
    primary key (show_id, section, currency, price)
) with (fillfactor = 50);

-- The changes that are not folded lack their section: they are subtracted here from the section ''
-- to which they will be added.
insert into tickets.section_counts (show_id, section, currency, available, held, sold)
select n.show_id, n.section, n.currency, sum(n.available), sum(n.held), sum(n.sold)
from (
    select t.show_id, coalesce(t.section, '') as section, t.currency,
           (t.status = 'available' and not t.hidden)::int as available,
           (t.status = 'reserved' or (t.status = 'held' and not t.hidden))::int as held,
           (t.status = 'sold')::int as sold
    from tickets.tickets t
    union all
    select c.show_id, c.section, c.currency, -c.available, -c.held, -c.sold
    from tickets.count_changes c
) n
group by n.show_id, n.section, n.currency
having sum(n.available) <> 0 or sum(n.held) <> 0 or sum(n.sold) <> 0;

insert into tickets.section_price_counts (show_id, section, currency, price, available)
select n.show_id, n.section, n.currency, n.price, sum(n.available)
from (
    select t.show_id, coalesce(t.section, '') as section, t.currency, t.price, 1 as available
    from tickets.tickets t where t.status = 'available' and not t.hidden
    union all
    select c.show_id, c.section, c.currency, c.price, -c.available from tickets.count_changes c
) n
group by n.show_id, n.section, n.currency, n.price
having sum(n.available) <> 0;
