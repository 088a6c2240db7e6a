-- The hourly budgets of accounts and networks that are not full (functions/orders/budgets.sql). A
-- row is deleted once its budget is full again, so a network is stored for little over an hour.
create table orders.budgets (
    id bigint generated always as identity primary key,
    subject text not null unique,
    -- The size of the budget: the amount that it gains in an hour.
    hourly bigint not null,
    full_at timestamptz not null,
    constraint budgets_hourly_positive check (hourly > 0)
) with (fillfactor = 50);

-- The budgets that pay for the order's unpaid hold, and for the attempt's decline.
alter table orders.orders
add column charged_to bigint[],
-- Attempts to pay the order that reached Stripe.
add column payment_attempts int not null default 0;
alter table payments.payments add column charged_to bigint[];
