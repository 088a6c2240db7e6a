-- Migrations 0002 and 0006 were edited after they had landed, when a database may have run them.
-- This file changes the tables of their first contents to those of the later contents. It rebuilds
-- a table instead of adding the column at its end, to keep the order of columns of the baseline.
-- squawk-ignore-file ban-drop-table, require-concurrent-index-creation

-- 0002_events: events.relay had no epoch_start.
do $$
begin
    if not exists (
        select from information_schema.columns
        where (table_schema, table_name, column_name) = ('events', 'relay', 'epoch_start')
    ) then
        create temporary table earlier_relay on commit drop as select * from events.relay;
        drop table events.relay;
        create table events.relay (
            singleton boolean primary key default true check (singleton),
            epoch bigint not null default 1,
            epoch_start bigint not null default 0,
            position bigint not null default 0
        );
        insert into events.relay (epoch, position)
        select e.epoch, e.position from pg_temp.earlier_relay e;
        grant select, update on events.relay to gittix_relay;
    end if;
end
$$;

-- 0006_payments: payments.payments had neither deadline_at nor looked_at.
do $$
begin
    if not exists (
        select from information_schema.columns
        where (table_schema, table_name, column_name) = ('payments', 'payments', 'deadline_at')
    ) then
        create temporary table earlier_payments on commit drop as select * from payments.payments;
        drop table payments.payments;
        create table payments.payments (
            id uuid primary key,
            order_id uuid not null,
            buyer_id uuid not null,
            attempt int not null,
            status text not null default 'started',
            amount bigint not null,
            currency text not null,
            payment_method text not null,
            intent_id text,
            failure_code text,
            decline_code text,
            failure_message text,
            deadline_at timestamptz not null,
            looked_at timestamptz not null default now(),
            idempotency_key text,
            fingerprint bytea,
            reply_status int,
            reply_body bytea,
            version bigint not null default 1,
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now(),
            constraint payments_status_known check (status in (
                'started', 'requires_action', 'authorised', 'captured', 'voided', 'failed',
                'refunded'
            )),
            constraint payments_amount_positive check (amount > 0),
            unique (order_id, attempt)
        );
        insert into payments.payments (
            id, order_id, buyer_id, attempt, status, amount, currency, payment_method, intent_id,
            failure_code, decline_code, failure_message, deadline_at, looked_at, idempotency_key,
            fingerprint, reply_status, reply_body, version, created_at, updated_at
        )
        select p.id, p.order_id, p.buyer_id, p.attempt, p.status, p.amount, p.currency,
               p.payment_method, p.intent_id, p.failure_code, p.decline_code, p.failure_message,
               coalesce(o.expires_at, p.created_at), p.updated_at, p.idempotency_key,
               p.fingerprint, p.reply_status, p.reply_body, p.version, p.created_at, p.updated_at
        from pg_temp.earlier_payments p left join orders.orders o on o.id = p.order_id;
        create unique index payments_one_open_attempt on payments.payments (order_id)
        where status in ('started', 'requires_action', 'authorised');
        create unique index payments_one_captured on payments.payments (order_id)
        where status in ('captured', 'refunded');
        create unique index payments_key on payments.payments (buyer_id, idempotency_key)
        where idempotency_key is not null;
        create index payments_intent on payments.payments (intent_id);
        create index payments_open on payments.payments (looked_at)
        where status in ('started', 'requires_action', 'authorised');
    end if;
end
$$;
