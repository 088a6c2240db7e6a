-- The allowed transitions; the trigger `check_transition` refuses every other (decision 12).
create table payments.transitions (
    from_status text not null,
    to_status text not null,
    primary key (from_status, to_status)
);
insert into payments.transitions (from_status, to_status) values
('started', 'requires_action'),
('started', 'authorised'),
('started', 'captured'),          -- captured by a process that died before it recorded anything
('started', 'voided'),
('started', 'failed'),
('started', 'refunded'),          -- captured at Stripe by an operator, after the order was lost
('requires_action', 'authorised'),
('requires_action', 'captured'),
('requires_action', 'voided'),
('requires_action', 'failed'),
('requires_action', 'refunded'),
('authorised', 'captured'),
('authorised', 'voided'),
('authorised', 'refunded'),
('failed', 'authorised'),         -- confirmed late, by a process that counted as dead
('failed', 'captured'),
('failed', 'refunded'),
('voided', 'refunded'),           -- captured by a request that reached Stripe before the void
('captured', 'refunded');

create table payments.refund_transitions (
    from_status text not null,
    to_status text not null,
    primary key (from_status, to_status)
);
insert into payments.refund_transitions (from_status, to_status) values
('requested', 'pending'),
('requested', 'succeeded'),
('requested', 'failed'),
('pending', 'succeeded'),
('pending', 'failed'),
('succeeded', 'failed');          -- the bank returned the money days later

revoke all on payments.transitions, payments.refund_transitions from gittix_payments;
grant select on payments.transitions, payments.refund_transitions to gittix_payments;
