-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion
-- Writers of tickets wait while the indexes are built: a migration is one transaction.

-- Prices are compared within a currency: the lists by price are sorted by currency first.
create index tickets_currency_price on tickets.tickets (currency, price, id);
create index tickets_show_currency_price
on tickets.tickets (show_id, currency, price, id) where not hidden;
create index tickets_seller_currency_price on tickets.tickets (seller_id, currency, price, id);
drop index tickets.tickets_price;
drop index tickets.tickets_show_price;
drop index tickets.tickets_seller_price;
