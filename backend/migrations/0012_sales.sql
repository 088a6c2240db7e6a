-- What a seller sold is read by seller, newest first: the ids of orders begin with their time.
--
-- Before 1.0 a release is stopped while the next one migrates, so nothing waits for this index.
-- squawk-ignore-file require-concurrent-index-creation

create index lines_seller on orders.lines (seller_id, order_id, ticket_id);
