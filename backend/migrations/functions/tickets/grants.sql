-- The rights on the tables of tickets, in full. A new table has none; a new column cannot be
-- written. No right covers a ticket's seller after the insert, its status, its order or its hold:
-- only functions change those.
alter default privileges in schema tickets revoke all on tables from gittix_tickets;
revoke all on all tables in schema tickets from gittix_tickets, gittix_check;

grant select on all tables in schema tickets to gittix_tickets, gittix_check;

grant insert, update (
    title, venue, city, starts_at, ends_at, sales_end_at, status, timezone, category,
    listing_policy,
    version, updated_at
)
on tickets.shows to gittix_tickets;

-- The handle of a seller without a row; auth changes it.
grant insert on tickets.sellers to gittix_tickets;

grant insert (
    id, show_id, seller_id, seller_name, title, section, "row", seat, price, face_value, currency
), update (
    title, section, "row", seat, price, face_value, currency, hidden, version, updated_at
)
on tickets.tickets to gittix_tickets;

grant insert, update (fingerprint, status, headers, body, created_at), delete
on tickets.idempotency_keys to gittix_tickets;
