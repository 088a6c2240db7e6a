-- squawk-ignore-file require-concurrent-index-creation
-- Writers of tickets wait while the index is built: a migration is one transaction.

-- The list of a show's hidden tickets by price. Few tickets are hidden.
create index tickets_hidden_currency_price
on tickets.tickets (show_id, currency, price, id) where hidden;
