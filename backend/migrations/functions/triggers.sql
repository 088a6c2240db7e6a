-- `create or replace trigger` locks its table against writes. The table of tickets comes before
-- that of orders, as in every other transaction, so that a migration causes no deadlock.

create or replace trigger record_transitions after update on tickets.tickets
referencing old table as before new table as after
for each statement execute function tickets.record_transitions();

create or replace trigger record_transitions after update on orders.orders
referencing old table as before new table as after
for each statement execute function orders.record_transitions();

create or replace trigger check_transition before update of status on payments.payments
for each row when (old.status <> new.status) execute function payments.check_transition();

create or replace trigger check_transition before update of status on payments.refunds
for each row when (old.status <> new.status) execute function payments.check_refund_transition();
