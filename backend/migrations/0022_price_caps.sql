-- A ticket whose sale its seller refunded is listed again at most at the price of that sale.
alter table tickets.tickets add column price_cap bigint;

-- The same for the seat, so that a new ticket of the seller for it does not cost more either. The
-- parts of the seat are compared as in `tickets_one_per_seat`.
create table tickets.price_caps (
    show_id uuid not null,
    seller_id uuid not null,
    section text not null,
    "row" text not null,
    seat text not null,
    currency text not null,
    price bigint not null,
    primary key (show_id, seller_id, section, "row", seat)
);
