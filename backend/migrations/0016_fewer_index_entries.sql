-- A ticket's holds change nothing that an index knows, so that Postgres need not write to each of them at every change:
-- from an order to its tickets lead its lines, and what is due is found by the orders.
--
-- Events are kept as json: they are written once and read once, as text.
--
-- Before 1.0 a release is stopped while the next one migrates, so nothing waits for the rewritten table, and nothing runs
-- that could miss what is dropped here.
-- squawk-ignore-file require-concurrent-index-deletion, changing-column-type, ban-drop-function

drop index tickets.tickets_order;
drop index tickets.tickets_due;
-- Room on the page for a row's next version.
alter table tickets.tickets set (fillfactor = 80);

alter table events.outbox alter column data type json;

-- These change what they take or return; their definitions are in `functions/`. A new database has not all of them.
drop function if exists tickets.hold(uuid, uuid, uuid[], timestamptz, uuid);
drop function if exists tickets.release(uuid, uuid, text[]);
drop function if exists tickets.extend(uuid, timestamptz, uuid);
drop function if exists tickets.sell(uuid, uuid);
drop function if exists tickets.unsell(uuid, boolean, uuid);
drop function if exists tickets.release_due(int, uuid);
drop function if exists tickets.state(tickets.tickets);
drop function if exists orders.state(orders.orders);
drop function if exists orders.state(orders.orders, jsonb);
drop function if exists orders.lines_of(uuid);
drop function if exists orders.read(uuid);
drop function if exists events.append(text, uuid, bigint, jsonb, uuid, uuid);
