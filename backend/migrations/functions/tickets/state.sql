-- The JSON of a ticket in the events of tickets. `p_handle` is its seller's, `p_previous` the order
-- that the ticket has just left, `p_refunded` whether it left by a refund. Consumers of the version
-- before this one require `seller_name`.
create function tickets.state(
    t tickets.tickets, p_handle text, p_previous uuid default null,
    p_refunded boolean default false
) returns json
language sql stable parallel safe
return json_build_object(
    'id', t.id, 'show_id', t.show_id, 'seller_id', t.seller_id,
    'seller_handle', p_handle, 'seller_name', p_handle,
    'status', t.status, 'title', t.title, 'section', t.section, 'row', t."row", 'seat', t.seat,
    'price', t.price, 'face_value', t.face_value, 'currency', t.currency, 'order_id', t.order_id,
    'held_until', t.held_until, 'hidden', t.hidden, 'version', t.version,
    'created_at', t.created_at, 'previous_order_id', p_previous, 'refunded', p_refunded
);

-- The same with the present handle. A statement that calls this function reads the handle in a
-- query of its own for each ticket.
create function tickets.state(t tickets.tickets) returns json
language sql stable parallel safe
return tickets.state(t, tickets.handle_of(t.seller_id));

grant execute on function
    tickets.state(tickets.tickets), tickets.state(tickets.tickets, text, uuid, boolean)
to gittix_tickets;
