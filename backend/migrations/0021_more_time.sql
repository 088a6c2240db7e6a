-- An account that needs more time may extend each of its unpaid holds once (WCAG 2.2.1).
alter table auth.users add column needs_more_time boolean not null default false;

-- When the buyer extended the hold. Null: not yet.
alter table orders.orders add column extended_at timestamptz;
