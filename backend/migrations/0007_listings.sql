-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion
-- squawk-ignore-file adding-not-nullable-field, constraint-missing-not-valid
-- The counters are filled from rows that no other transaction may change before the triggers exist.
-- So tickets.tickets is locked until the end in any case, and an index that is built concurrently
-- would gain nothing.

-- Whether the owner of the show has hidden the ticket: no other user can find or hold it.
alter table tickets.tickets add column hidden boolean not null default false;

-- `open`: every signed-in user may list tickets of the show; `owner`: only the owner of the show.
alter table tickets.shows add column listing_policy text not null default 'open'
constraint shows_listing_policy_known check (listing_policy in ('open', 'owner'));

-- The currencies of tickets, and the lowest price in minor units. The source is
-- `backend/kernel/money.py`; a test compares both.
create table tickets.currencies (
    code text not null constraint currencies_pkey primary key,
    minimum bigint not null constraint currencies_minimum_positive check (minimum > 0)
);
insert into tickets.currencies (code, minimum)
select unnest(string_to_array(
    'BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF '
    'AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF '
    'CNY COP CRC CVE DOP DZD EGP ETB EUR FJD FKP GEL GIP GMD GTQ GYD HNL HTG IDR ILS INR ISK JMD '
    'KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MZN NAD NGN NIO '
    'NPR NZD PAB PEN PGK PHP PKR QAR RSD RUB SAR SBD SCR SGD SHP SLE SOS SRD STD SZL TJS TOP TRY '
    'TTD TWD TZS UAH USD UYU UZS WST XCD YER ZAR ZMW', ' '
)), 50;
insert into tickets.currencies (code, minimum) values
('AED', 200), ('CZK', 1500), ('DKK', 250), ('GBP', 30), ('HKD', 400), ('HUF', 17500),
('MXN', 1000), ('MYR', 200), ('NOK', 300), ('PLN', 200), ('RON', 200), ('SEK', 300),
('THB', 1000),
('BHD', 500), ('JOD', 500), ('KWD', 500), ('OMR', 500), ('TND', 500);


-- The counters of shows (decision 32). A change of tickets inserts rows into `count_changes`, so
-- that buyers of one show never wait for each other; `tickets.fold_counts` adds them to the other
-- tables and deletes them.
--
-- `available` counts available tickets, `held` those that are held or reserved, `sold` those that
-- are sold; a hidden ticket counts only while it is reserved or sold. `version` is the sum of the
-- versions of all tickets.
create table tickets.count_changes (
    show_id uuid not null,
    currency text not null,
    price bigint not null,
    held_until timestamptz,
    available bigint not null,
    held bigint not null,
    sold bigint not null,
    version bigint not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
create index count_changes_show on tickets.count_changes (show_id);

create table tickets.show_counts (
    show_id uuid not null,
    currency text not null,
    available bigint not null,
    held bigint not null,
    sold bigint not null,
    version bigint not null,
    constraint show_counts_pkey primary key (show_id, currency)
) with (fillfactor = 50);

-- The available tickets at each price; without a row, there are none.
create table tickets.price_counts (
    show_id uuid not null,
    currency text not null,
    price bigint not null,
    available bigint not null,
    constraint price_counts_pkey primary key (show_id, currency, price)
) with (fillfactor = 50);

-- The held tickets by the end of their hold: from then on they count as available.
create table tickets.hold_counts (
    show_id uuid not null,
    held_until timestamptz not null,
    currency text not null,
    price bigint not null,
    held bigint not null,
    constraint hold_counts_pkey primary key (show_id, held_until, currency, price)
);

-- `tickets.fold_counts` adds these to the other tables.
insert into tickets.count_changes (
    show_id, currency, price, held_until, available, held, sold, version
)
select t.show_id, t.currency, t.price, t.held_until,
       count(*) filter (where t.status = 'available'),
       count(*) filter (where t.status in ('held', 'reserved')),
       count(*) filter (where t.status = 'sold'),
       sum(t.version)
from tickets.tickets t
group by t.show_id, t.currency, t.price, t.held_until;


-- An index for each list of the API, by filter and sort (decision 33). None contains a column that
-- a hold changes (decision 22).
drop index tickets.tickets_show;
create index tickets_show on tickets.tickets (show_id, id) where not hidden;
create index tickets_show_price on tickets.tickets (show_id, price, id) where not hidden;
create index tickets_hidden on tickets.tickets (show_id, id) where hidden;
create index tickets_seller_price on tickets.tickets (seller_id, price, id);
create index tickets_seller_show on tickets.tickets (seller_id, show_id, id);
-- The same expression is in the query of `backend/tickets/queries.py`.
create index tickets_search on tickets.tickets using gin (
    to_tsvector(
        'simple',
        coalesce(title, '') || ' ' || coalesce(section, '') || ' ' || coalesce("row", '') || ' '
        || coalesce(seat, '')
    )
);
create index shows_city on tickets.shows (lower(city), starts_at, id);
create index shows_category on tickets.shows (category, starts_at, id);
create index shows_owner on tickets.shows (owner_id, starts_at, id);
