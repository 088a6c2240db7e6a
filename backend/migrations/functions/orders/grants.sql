-- The rights on the tables of orders, in full. A new table has none; a new column cannot be
-- updated. Orders and their lines are written by functions only.
alter default privileges in schema orders revoke all on tables from gittix_orders;
revoke all on all tables in schema orders from gittix_orders, gittix_check;

grant select on all tables in schema orders to gittix_orders, gittix_check;

grant insert, update (fingerprint, status, headers, body, created_at), delete
on orders.idempotency_keys to gittix_orders;
grant insert, delete on orders.inbox to gittix_orders;
