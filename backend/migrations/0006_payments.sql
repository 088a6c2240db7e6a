-- Payments: one PaymentIntent an order, a row for each attempt on it, one open attempt at most.

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
    -- The end of the order's hold, when the attempt began.
    deadline_at timestamptz not null,
    -- When the reconciler last took it up.
    looked_at timestamptz not null default now(),
    -- The request that made this attempt; its reply is kept here once there is one.
    idempotency_key text,
    fingerprint bytea,
    reply_status int,
    reply_body bytea,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint payments_status_known check (status in (
        'started', 'requires_action', 'authorised', 'captured', 'voided', 'failed', 'refunded'
    )),
    constraint payments_amount_positive check (amount > 0),
    unique (order_id, attempt)
);
create unique index payments_one_open_attempt on payments.payments (order_id)
where status in ('started', 'requires_action', 'authorised');
create unique index payments_one_captured on payments.payments (order_id) where status in ('captured', 'refunded');
create unique index payments_key on payments.payments (buyer_id, idempotency_key) where idempotency_key is not null;
create index payments_intent on payments.payments (intent_id);
create index payments_open on payments.payments (looked_at)
where status in ('started', 'requires_action', 'authorised');

-- Stripe's events as they came, by Stripe's id: stored first, answered, then handled once.
create table payments.webhook_events (
    id text primary key,
    type text not null,
    object_id text,
    received_at timestamptz not null default now(),
    handled_at timestamptz,
    tries int not null default 0,
    last_error text
);
create index webhook_events_unhandled on payments.webhook_events (received_at) where handled_at is null;
