-- Withdraw a free ticket of this seller for good. Returns whether it was free and is withdrawn.
create function tickets.withdraw(p_ticket uuid, p_seller uuid) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform events.act_for(p_seller);
    with withdrawn as (
        update tickets.tickets t
        set status = 'withdrawn', claims_seat = false, order_id = null, held_until = null,
            version = t.version + 1, updated_at = clock_timestamp()
        where t.id = p_ticket and t.seller_id = p_seller
          and tickets.is_free(t.status, t.held_until, clock_timestamp())
        returning t as ticket
    )
    insert into events.outbox (type, subject, version, data, correlation_id)
    select 'ticket.withdrawn', (ticket).id, (ticket).version, tickets.state(ticket),
           events.correlation_id()
    from withdrawn;
    return found;
end
$$;
grant execute on function tickets.withdraw to gittix_tickets;
