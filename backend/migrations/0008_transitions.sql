-- Which status may follow which, and a row for each time that one did. An update that these tables don't allow fails,
-- whoever runs it; nobody but their owner can change or delete what was recorded.

create table tickets.transitions (
    from_status text not null,
    to_status text not null,
    primary key (from_status, to_status)
);
insert into tickets.transitions (from_status, to_status) values
('available', 'held'),
('available', 'reserved'),   -- money that came late wins a ticket that nobody took
('available', 'withdrawn'),
('held', 'available'),
('held', 'held'),            -- taken over by another order, past its time
('held', 'reserved'),
('held', 'withdrawn'),       -- past its time
('reserved', 'available'),   -- capture is impossible
('reserved', 'sold'),
('sold', 'available'),       -- refunded and on sale again
('sold', 'withdrawn');       -- refunded

create table orders.transitions (like tickets.transitions including all);
insert into orders.transitions (from_status, to_status) values
('pending', 'awaiting_payment'),
('pending', 'cancelled'),
('pending', 'expired'),
('awaiting_payment', 'cancelled'),
('awaiting_payment', 'confirmed'),
('awaiting_payment', 'expired'),
('expired', 'confirmed'),    -- money that came late, while all its tickets are free
('confirmed', 'cancelled'),  -- capture is impossible
('confirmed', 'completed'),
('completed', 'refund_pending'),
('refund_pending', 'completed'),
('refund_pending', 'refunded');

-- A row a transition: of what, from where to where, for which order, when, by which role and for which user.
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
    primary key (ticket_id, version),
    constraint audit_transition_allowed foreign key (from_status, to_status) references tickets.transitions
);

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
    primary key (order_id, version),
    constraint audit_transition_allowed foreign key (from_status, to_status) references orders.transitions
);

revoke all on tickets.transitions, tickets.audit from gittix_tickets;
revoke all on orders.transitions, orders.audit from gittix_orders;
grant select on tickets.transitions, tickets.audit to gittix_tickets;
grant select on orders.transitions, orders.audit to gittix_orders;

-- Whom this transaction acts for, and under which correlation id: said once, found by the triggers.
create function events.act_for(p_actor uuid, p_correlation uuid) returns void
language plpgsql volatile
as $$
declare
    v_said text;
begin
    v_said := set_config('gittix.actor', coalesce(p_actor::text, ''), true);
    v_said := set_config('gittix.correlation', coalesce(p_correlation::text, ''), true);
end
$$;
grant execute on function events.act_for to gittix_tickets;

create function tickets.record_transitions() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan for one row must not meet a thousand
as $$
begin
    insert into tickets.audit (ticket_id, version, from_status, to_status, from_order_id, to_order_id, actor_id, correlation_id)
    select n.id, n.version, o.status, n.status, o.order_id, n.order_id,
           nullif(current_setting('gittix.actor', true), '')::uuid,
           nullif(current_setting('gittix.correlation', true), '')::uuid
    from before o join after n using (id)
    where o.status <> n.status or o.order_id <> n.order_id;
    return null;
end
$$;
create trigger record_transitions after update on tickets.tickets
referencing old table as before new table as after
for each statement execute function tickets.record_transitions();

create function orders.record_transitions() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_nestloop = off  -- a plan for one row must not meet a thousand
as $$
begin
    insert into orders.audit (order_id, version, from_status, to_status, payment_id, actor_id, correlation_id)
    select n.id, n.version, o.status, n.status, n.payment_id,
           nullif(current_setting('gittix.actor', true), '')::uuid,
           nullif(current_setting('gittix.correlation', true), '')::uuid
    from before o join after n using (id)
    where o.status <> n.status;
    return null;
end
$$;
create trigger record_transitions after update on orders.orders
referencing old table as before new table as after
for each statement execute function orders.record_transitions();
