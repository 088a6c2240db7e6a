-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion
-- squawk-ignore-file adding-not-nullable-field, ban-drop-generated-expression
-- The words of a show depend on functions, which may change; so a trigger sets them, and
-- `functions/tickets/search.sql` fills the rows that are there. The table is locked until then.

-- The words of title, venue and city; and with them their spellings that lack a letter.
alter table tickets.shows alter column search drop expression;
alter table tickets.shows alter column search set default '';
alter table tickets.shows add column spellings tsvector not null default '';
create index shows_spellings on tickets.shows using gin (spellings);

-- The city in lower case and without accents: Zürich, ZURICH and zurich are one city.
alter table tickets.shows add column city_key text not null default '';

drop index tickets.shows_city;
create index shows_city on tickets.shows (city_key, starts_at, id);
