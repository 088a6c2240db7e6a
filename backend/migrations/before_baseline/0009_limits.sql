-- squawk-ignore-file adding-not-nullable-field, ban-drop-constraint
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion

alter table orders.lines add column buyer_id uuid;
update orders.lines l set buyer_id = o.buyer_id from orders.orders o where o.id = l.order_id;
alter table orders.lines alter column buyer_id set not null;
create index lines_live_of_buyer on orders.lines (buyer_id, show_id) where live;

drop index events.outbox_occurred_at;
alter table events.outbox drop constraint outbox_pkey;

do $$
declare
    v_noun text;
begin
    foreach v_noun in array array['auth', 'tickets', 'orders', 'payments'] loop
        execute format('drop index %I.idempotency_keys_created_at_idx', v_noun);
        execute format('create index on %I.idempotency_keys using brin (created_at)', v_noun);
        execute format('drop index %I.inbox_handled_at_idx', v_noun);
        execute format('create index on %I.inbox using brin (handled_at)', v_noun);
    end loop;
end
$$;
