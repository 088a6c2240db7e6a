-- squawk-ignore-file require-concurrent-index-deletion, changing-column-type
drop index tickets.tickets_order;
drop index tickets.tickets_due;
alter table tickets.tickets set (fillfactor = 80);
alter table events.outbox alter column data type json;
