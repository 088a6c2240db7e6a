-- squawk-ignore-file ban-drop-table
drop table auth.idempotency_keys;
drop table payments.idempotency_keys;
drop table auth.inbox;
drop table tickets.inbox;
