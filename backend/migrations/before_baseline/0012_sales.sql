-- squawk-ignore-file require-concurrent-index-creation
create index lines_seller on orders.lines (seller_id, order_id, ticket_id);
