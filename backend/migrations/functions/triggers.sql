-- `create or replace trigger` locks its table against writes. The tables come in the order in which
-- every other transaction writes to them, so that a migration causes no deadlock.

create or replace trigger record_update after update on tickets.tickets
referencing old table as before new table as after
for each statement execute function tickets.record_update();

create or replace trigger audit_owner after delete or update of seller_id on tickets.tickets
for each row execute function events.audit_owner('id', 'show_id', 'seller_id');

create or replace trigger audit_owner after delete or update of owner_id on tickets.shows
for each row execute function events.audit_owner('id', 'owner_id');

create or replace trigger set_search before insert or update of title, venue, city
on tickets.shows
for each row execute function tickets.set_search();

create or replace trigger set_local_start before insert or update of starts_at, timezone
on tickets.shows
for each row execute function tickets.set_local_start();

create or replace trigger check_show_status before update of status on tickets.shows
for each row when (old.status = 'cancelled' and new.status <> 'cancelled')
execute function tickets.check_show_status();

create or replace trigger check_price after insert or update of price, face_value, currency
on tickets.tickets
for each row execute function tickets.check_price();

create or replace trigger check_price_cap
after insert or update of price, currency, section, "row", seat on tickets.tickets
for each row when (new.seat <> '' or new.price_cap is not null)
execute function tickets.check_price_cap();

create or replace trigger claim_seat before update of section, "row", seat on tickets.tickets
for each row execute function tickets.claim_seat();

create or replace trigger count_listed after insert on tickets.tickets
referencing new table as after
for each statement execute function tickets.count_listed();

create or replace trigger record_transitions after update on orders.orders
referencing old table as before new table as after
for each statement execute function orders.record_transitions();

create or replace trigger audit_owner after delete or update of buyer_id on orders.orders
for each row execute function events.audit_owner('id', 'buyer_id');

create or replace trigger audit_owner after delete or update of buyer_id, seller_id on orders.lines
for each row execute function events.audit_owner('order_id', 'ticket_id', 'buyer_id', 'seller_id');

create or replace trigger audit_owner after delete or update of buyer_id on payments.payments
for each row execute function events.audit_owner('id', 'order_id', 'buyer_id');

create or replace trigger audit_owner after delete or update of requested_by on payments.refunds
for each row execute function events.audit_owner('id', 'order_id', 'requested_by');

create or replace trigger claim_handle before insert or update of handle on auth.users
for each row execute function auth.claim_handle();

create or replace trigger audit_owner after delete on auth.users
for each row execute function events.audit_owner('id');

create or replace trigger audit_owner after update of user_id on auth.sessions
for each row execute function events.audit_owner('id', 'user_id');

create or replace trigger check_transition before update of status on payments.payments
for each row when (old.status <> new.status) execute function payments.check_transition();

create or replace trigger check_transition before update of status on payments.refunds
for each row when (old.status <> new.status) execute function payments.check_refund_transition();

create or replace trigger record_end after update of revoked_at on auth.sessions
for each row when (old.revoked_at is null and new.revoked_at is not null)
execute function auth.record_end();

-- Before the delete, which removes the refresh tokens too.
create or replace trigger record_deletion before delete on auth.sessions
for each row when (old.revoked_at is null) execute function auth.record_end();
