alter table orders.orders add column refund_id uuid;

alter table payments.payments add column captured_at timestamptz;
update payments.payments set captured_at = updated_at where status = 'captured';

create table payments.refunds (
    id uuid primary key,
    order_id uuid not null,
    payment_id uuid not null references payments.payments (id),
    intent_id text not null,
    number int not null,
    requested_by uuid not null,
    relist boolean not null,
    status text not null default 'requested',
    amount bigint not null,
    currency text not null,
    stripe_id text,
    failure_code text,
    faults int not null default 0,
    looked_at timestamptz not null default now(),
    idempotency_key text,
    fingerprint bytea,
    reply_status int,
    reply_body bytea,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint refunds_status_known check (
        status in ('requested', 'pending', 'succeeded', 'failed')
    ),
    constraint refunds_amount_positive check (amount > 0),
    constraint refunds_stripe_has_it check (
        status not in ('pending', 'succeeded') or stripe_id is not null
    ),
    constraint refunds_failure_has_a_code check (
        (status = 'failed') = (failure_code is not null)
    ),
    unique (order_id, number)
);
create unique index refunds_one_an_order on payments.refunds (order_id) where status <> 'failed';
create unique index refunds_key on payments.refunds (requested_by, idempotency_key)
where idempotency_key is not null;
create index refunds_intent on payments.refunds (intent_id);
create index refunds_payment on payments.refunds (payment_id);
create index refunds_open on payments.refunds (looked_at)
where status in ('requested', 'pending');
