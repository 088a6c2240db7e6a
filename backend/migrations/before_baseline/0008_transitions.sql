create table tickets.transitions (
    from_status text not null,
    to_status text not null,
    primary key (from_status, to_status)
);
insert into tickets.transitions (from_status, to_status) values
('available', 'held'),
('available', 'reserved'),
('available', 'withdrawn'),
('held', 'available'),
('held', 'held'),
('held', 'reserved'),
('held', 'withdrawn'),
('reserved', 'available'),
('reserved', 'sold'),
('sold', 'available'),
('sold', 'withdrawn');

create table orders.transitions (like tickets.transitions including all);
insert into orders.transitions (from_status, to_status) values
('pending', 'awaiting_payment'),
('pending', 'cancelled'),
('pending', 'expired'),
('awaiting_payment', 'cancelled'),
('awaiting_payment', 'confirmed'),
('awaiting_payment', 'expired'),
('expired', 'confirmed'),
('confirmed', 'cancelled'),
('confirmed', 'completed'),
('completed', 'refund_pending'),
('refund_pending', 'completed'),
('refund_pending', 'refunded');

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

revoke all on tickets.transitions, tickets.audit from gittix_tickets;
revoke all on orders.transitions, orders.audit from gittix_orders;
grant select on tickets.transitions, tickets.audit to gittix_tickets;
grant select on orders.transitions, orders.audit to gittix_orders;
