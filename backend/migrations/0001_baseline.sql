-- Schemas, login roles, tables, constraints and indexes. `functions/` has functions and triggers.
-- `schema.sql` shows the result of this file and of every later one.
--
-- Each service has a schema and a login role. A role has rights in its own schema; in the other
-- schemas it may only call the functions that `functions/` grants to it. `gittix migrate` sets the
-- passwords from the services' database URLs.

create schema auth;
create schema tickets;
create schema orders;
create schema payments;
create schema push;
create schema events;

-- Roles belong to the cluster, so another database of the same cluster may have created them.
do $$
declare
    v_noun text;
begin
    foreach v_noun in array array['auth', 'tickets', 'orders', 'payments', 'push', 'relay'] loop
        if not exists (select from pg_roles where rolname = 'gittix_' || v_noun) then
            execute format('create role %I login', 'gittix_' || v_noun);
        end if;
        execute format(
            'grant connect on database %I to %I', current_database(), 'gittix_' || v_noun
        );
    end loop;
    execute format('revoke all on database %I from public', current_database());
end
$$;

revoke all on schema public from public;
-- No role may call a function before `functions/` grants it.
alter default privileges revoke execute on functions from public;

grant usage on schema auth to gittix_auth;
grant usage on schema tickets to gittix_tickets, gittix_orders;
grant usage on schema orders to gittix_orders, gittix_payments;
grant usage on schema payments to gittix_payments;
grant usage on schema push to gittix_push;
grant usage on schema events
to gittix_relay, gittix_auth, gittix_tickets, gittix_orders, gittix_payments;

alter default privileges in schema auth
grant select, insert, update, delete on tables to gittix_auth;
alter default privileges in schema tickets
grant select, insert, update, delete on tables to gittix_tickets;
alter default privileges in schema orders
grant select, insert, update, delete on tables to gittix_orders;
alter default privileges in schema payments
grant select, insert, update, delete on tables to gittix_payments;
alter default privileges in schema push
grant select, insert, update, delete on tables to gittix_push;


-- Events -----------------------------------------------------------------------------------------

-- The outbox: an event is published if and only if the transaction that appended it commits. The
-- relay numbers committed rows without gaps in `position`. `id` is taken after the row locks of the
-- transaction, so among the visible rows it orders the events of one subject. There is no primary
-- key: rows are found by `position`, and numbered and purged from the low end.
create table events.outbox (
    id bigint generated always as identity,
    event_id uuid not null default uuidv7(),
    position bigint,
    type text not null,
    schema smallint not null default 1,
    subject uuid not null,
    version bigint not null,
    occurred_at timestamptz not null default clock_timestamp(),
    correlation_id uuid,
    causation_id uuid,
    -- json, not jsonb: written once, read once, as text.
    data json not null
);
create index outbox_unnumbered on events.outbox (id) where position is null;
create unique index outbox_position on events.outbox (position) where position is not null;

-- One row. `position` is the last position that the relay gave. `epoch` is incremented when Redis
-- is ahead of this database, which means that the database was restored from a backup; events past
-- `epoch_start` are published under the new epoch.
create table events.relay (
    singleton boolean primary key default true check (singleton),
    epoch bigint not null default 1,
    epoch_start bigint not null default 0,
    position bigint not null default 0
);
insert into events.relay default values;

grant select, update on events.relay to gittix_relay;
grant select, delete on events.outbox to gittix_relay;
grant update (position) on events.outbox to gittix_relay;


-- Accounts ---------------------------------------------------------------------------------------

create table auth.users (
    id uuid not null default uuidv7() constraint users_pkey primary key,
    email text not null constraint users_email_length check (length(email) between 3 and 254),
    name text not null constraint users_name_length check (length(name) between 1 and 80),
    password_hash text not null,
    version bigint not null default 1,
    created_at timestamptz not null default now()
);
create unique index users_email_unique on auth.users (lower(email));

create table auth.sessions (
    id uuid not null default uuidv7() constraint sessions_pkey primary key,
    user_id uuid not null
        constraint sessions_user_fkey references auth.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    revoked_at timestamptz,
    user_agent text not null default ''
        constraint sessions_user_agent_length check (length(user_agent) <= 200)
);
create index sessions_live_of_user on auth.sessions (user_id) where revoked_at is null;
create index sessions_user on auth.sessions (user_id);
create index sessions_last_used_at on auth.sessions (last_used_at);

-- Only the hash of a token is stored. A used token is kept until it expires, so that its reuse can
-- be distinguished from an unknown token.
create table auth.refresh_tokens (
    hash bytea not null constraint refresh_tokens_pkey primary key
        constraint refresh_tokens_hash_length check (length(hash) = 32),
    session_id uuid not null
        constraint refresh_tokens_session_fkey references auth.sessions (id) on delete cascade,
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    replaced_by bytea,
    constraint refresh_tokens_replaced_when_used check ((used_at is null) = (replaced_by is null))
);
create index refresh_tokens_session on auth.refresh_tokens (session_id);
create index refresh_tokens_expires_at on auth.refresh_tokens (expires_at);


-- Tickets ----------------------------------------------------------------------------------------

create table tickets.shows (
    id uuid primary key default uuidv7(),
    owner_id uuid not null,
    title text not null,
    venue text not null,
    city text not null,
    starts_at timestamptz not null,
    timezone text not null,
    category text not null,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    search tsvector not null generated always as (
        to_tsvector('simple', title || ' ' || venue || ' ' || city)
    ) stored
);
create index shows_starts_at on tickets.shows (starts_at, id);
create index shows_search on tickets.shows using gin (search);

-- No index contains a column that a hold changes, and pages keep room for a row's next version, so
-- that a hold updates no index (decision 22).
create table tickets.tickets (
    id uuid primary key default uuidv7(),
    show_id uuid not null references tickets.shows (id),
    seller_id uuid not null,
    seller_name text not null,
    title text,
    section text,
    "row" text,
    seat text,
    price bigint not null,
    face_value bigint,
    currency text not null,
    status text not null default 'available',
    order_id uuid,
    held_until timestamptz,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tickets_price_positive check (price > 0),
    constraint tickets_face_value_positive check (face_value > 0),
    constraint tickets_currency_is_a_code check (currency ~ '^[A-Z]{3}$'),
    constraint tickets_status_known check (
        status in ('available', 'held', 'reserved', 'sold', 'withdrawn')
    ),
    constraint tickets_order_iff_taken check (
        (status in ('held', 'reserved', 'sold')) = (order_id is not null)
    ),
    constraint tickets_deadline_iff_held check ((status = 'held') = (held_until is not null))
) with (fillfactor = 80);
create index tickets_show on tickets.tickets (show_id, id);
create index tickets_seller on tickets.tickets (seller_id, id);
create index tickets_price on tickets.tickets (price, id);

-- The allowed transitions; the trigger `record_transitions` refuses every other (decision 12).
create table tickets.transitions (
    from_status text not null,
    to_status text not null,
    primary key (from_status, to_status)
);
insert into tickets.transitions (from_status, to_status) values
('available', 'held'),
('available', 'reserved'),   -- a late payment wins a free ticket
('available', 'withdrawn'),
('held', 'available'),
('held', 'held'),            -- another order takes over an expired hold
('held', 'reserved'),
('held', 'withdrawn'),       -- after the hold expired
('reserved', 'available'),   -- the capture failed
('reserved', 'sold'),
('sold', 'available'),       -- refunded and listed again
('sold', 'withdrawn');       -- refunded

-- One row for each change of a ticket's status or order: when, by which role, for which user.
create table tickets.audit (
    ticket_id uuid not null,
    version bigint not null,
    from_status text not null,
    to_status text not null,
    from_order_id uuid,
    to_order_id uuid,
    at timestamptz not null default clock_timestamp(),
    role text not null default session_user,
    actor_id uuid,
    correlation_id uuid,
    primary key (ticket_id, version)
);

revoke all on tickets.transitions, tickets.audit from gittix_tickets;
grant select on tickets.transitions, tickets.audit to gittix_tickets;


-- Orders -----------------------------------------------------------------------------------------

create table orders.orders (
    id uuid primary key,
    buyer_id uuid not null,
    status text not null default 'pending',
    subtotal bigint not null,
    fee bigint not null,
    total bigint not null,
    currency text not null,
    expires_at timestamptz not null,
    -- The upper bound of `expires_at`: no extension exceeds it.
    latest_expiry timestamptz not null,
    payment_id uuid,
    version bigint not null default 1,
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    -- The refund that set the order to refund_pending: only this refund may end that status.
    refund_id uuid,
    constraint orders_status_known check (status in (
        'pending', 'awaiting_payment', 'confirmed', 'completed', 'cancelled', 'expired',
        'refund_pending', 'refunded'
    )),
    constraint orders_total_is_the_sum check (
        total = subtotal + fee and subtotal > 0 and fee >= 0
    ),
    constraint orders_expiry_capped check (expires_at <= latest_expiry),
    constraint orders_paid_names_payment check (
        status not in ('confirmed', 'completed') or payment_id is not null
    )
);
create index orders_buyer on orders.orders (buyer_id, id);
create index orders_unpaid on orders.orders (expires_at)
where status in ('pending', 'awaiting_payment');

create table orders.lines (
    order_id uuid not null references orders.orders (id),
    ticket_id uuid not null,
    show_id uuid not null,
    seller_id uuid not null,
    price bigint not null,
    title text,
    section text,
    "row" text,
    seat text,
    live boolean not null default true,
    buyer_id uuid not null,
    primary key (order_id, ticket_id)
);
-- The second guard behind the guarded updates: a ticket is on one live line at most.
create unique index lines_one_live_per_ticket on orders.lines (ticket_id) where live;
create index lines_live_of_buyer on orders.lines (buyer_id, show_id) where live;
-- A seller's sales, newest first: an order's id begins with its time.
create index lines_seller on orders.lines (seller_id, order_id, ticket_id);

create table orders.transitions (
    from_status text not null,
    to_status text not null,
    primary key (from_status, to_status)
);
insert into orders.transitions (from_status, to_status) values
('pending', 'awaiting_payment'),
('pending', 'cancelled'),
('pending', 'expired'),
('awaiting_payment', 'cancelled'),
('awaiting_payment', 'confirmed'),
('awaiting_payment', 'expired'),
('expired', 'confirmed'),    -- a late payment, while all its tickets are free
('confirmed', 'cancelled'),  -- the capture failed
('confirmed', 'completed'),
('completed', 'refund_pending'),
('refund_pending', 'completed'),
('refund_pending', 'refunded');

create table orders.audit (
    order_id uuid not null,
    version bigint not null,
    from_status text not null,
    to_status text not null,
    payment_id uuid,
    at timestamptz not null default clock_timestamp(),
    role text not null default session_user,
    actor_id uuid,
    correlation_id uuid,
    primary key (order_id, version)
);

revoke all on orders.transitions, orders.audit from gittix_orders;
grant select on orders.transitions, orders.audit to gittix_orders;


-- Payments ---------------------------------------------------------------------------------------

-- One PaymentIntent for each order, one row for each attempt on it, at most one open attempt.
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
    -- The order's `expires_at` at the start of the attempt.
    deadline_at timestamptz not null,
    -- The last time that the reconciler compared this payment with Stripe.
    reconciled_at timestamptz not null default now(),
    -- The request that started this attempt, and its stored reply.
    idempotency_key text,
    fingerprint bytea,
    reply_status int,
    reply_body bytea,
    version bigint not null default 1,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    -- The buyer's time to ask for a refund starts here.
    captured_at timestamptz,
    -- Later work on this payment (a webhook, the reconciler) has the correlation id of the request
    -- that started it.
    correlation_id uuid,
    constraint payments_status_known check (status in (
        'started', 'requires_action', 'authorised', 'captured', 'voided', 'failed', 'refunded'
    )),
    constraint payments_amount_positive check (amount > 0),
    unique (order_id, attempt)
);
create unique index payments_one_open_attempt on payments.payments (order_id)
where status in ('started', 'requires_action', 'authorised');
create unique index payments_one_captured on payments.payments (order_id)
where status in ('captured', 'refunded');
create unique index payments_key on payments.payments (buyer_id, idempotency_key)
where idempotency_key is not null;
create index payments_intent on payments.payments (intent_id);
create index payments_open on payments.payments (reconciled_at)
where status in ('started', 'requires_action', 'authorised');

-- Stripe's events under Stripe's ids: stored first, answered, then handled once.
create table payments.webhook_events (
    id text primary key,
    type text not null,
    object_id text,
    received_at timestamptz not null default now(),
    handled_at timestamptz,
    tries int not null default 0,
    last_error text
);
create index webhook_events_unhandled on payments.webhook_events (received_at)
where handled_at is null;

create table payments.refunds (
    id uuid primary key,
    order_id uuid not null,
    payment_id uuid not null references payments.payments (id),
    intent_id text not null,
    -- 1, 2, 3 … among the order's refunds; those with a lower number failed.
    number int not null,
    requested_by uuid not null,
    relist boolean not null,
    status text not null default 'requested',
    amount bigint not null,
    currency text not null,
    stripe_id text,
    failure_code text,
    -- How often Stripe answered the request for this refund with a server error.
    faults int not null default 0,
    -- The last time that the reconciler compared this refund with Stripe.
    reconciled_at timestamptz not null default now(),
    -- The request that asked for this refund, and its stored reply.
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
create index refunds_open on payments.refunds (reconciled_at)
where status in ('requested', 'pending');


-- Push -------------------------------------------------------------------------------------------

-- One row: the position in the event log up to which the notifier has published to the push log.
create table push.notifier (
    singleton boolean primary key default true check (singleton),
    position bigint not null default 0,
    epoch bigint not null default 0,
    appended bigint not null default 0,
    updated_at timestamptz not null default now()
);
insert into push.notifier default values;


-- Replies stored under an Idempotency-Key, and the events that a consumer has handled -------------

-- Rows are found by their primary key and purged from the oldest end, so a BRIN index is enough.
create table tickets.idempotency_keys (
    user_id uuid not null,
    key text not null,
    fingerprint bytea not null,
    status int not null,
    headers jsonb not null,
    body bytea not null,
    created_at timestamptz not null default now(),
    primary key (user_id, key)
);
create index on tickets.idempotency_keys using brin (created_at);
create table orders.idempotency_keys (like tickets.idempotency_keys including all);

create table orders.inbox (
    consumer text not null,
    event_id uuid not null,
    handled_at timestamptz not null default now(),
    primary key (consumer, event_id)
);
create index on orders.inbox using brin (handled_at);
create table payments.inbox (like orders.inbox including all);
