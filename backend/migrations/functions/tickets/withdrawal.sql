-- Changes of many tickets of a seller at once. Each function changes those that are free and
-- returns their ids; the caller reads why another one stayed as it was. The rows are locked in the
-- order of their ids, as a hold locks them, so neither waits for the other in a circle. A row is
-- free or not by the clock after its lock.

create function tickets.lock_own(p_tickets uuid[], p_seller uuid) returns void
language plpgsql volatile
as $$
begin
    perform events.act_for(p_seller);
    perform from tickets.tickets t
    where t.id = any (p_tickets) and t.seller_id = p_seller
    order by t.id for no key update;
end
$$;

-- Set the price of the tickets that have another one in this currency, and no cap below it.
create function tickets.set_prices(
    p_tickets uuid[], p_seller uuid, p_price bigint, p_currency text
) returns uuid[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_changed uuid[];
begin
    perform tickets.lock_own(p_tickets, p_seller);
    with changed as (
        update tickets.tickets t
        set price = p_price, version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.seller_id = p_seller and t.currency = p_currency
          and t.price <> p_price and p_price <= coalesce(tickets.price_cap_of(t), p_price)
          and tickets.is_free(t.status, t.held_until, clock_timestamp())
        returning t as ticket
    ), announced as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.updated', (ticket).id, (ticket).version, tickets.state(ticket),
               events.correlation_id()
        from changed order by (ticket).id
        returning subject
    )
    select coalesce(array_agg(subject), '{}') into v_changed from announced;
    return v_changed;
end
$$;

-- Withdraw the tickets for good.
create function tickets.withdraw_all(p_tickets uuid[], p_seller uuid) returns uuid[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_withdrawn uuid[];
begin
    perform tickets.lock_own(p_tickets, p_seller);
    with withdrawn as (
        update tickets.tickets t
        set status = 'withdrawn', claims_seat = false, order_id = null, held_until = null,
            version = t.version + 1, updated_at = clock_timestamp()
        where t.id = any (p_tickets) and t.seller_id = p_seller
          and tickets.is_free(t.status, t.held_until, clock_timestamp())
        returning t as ticket
    ), announced as (
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.withdrawn', (ticket).id, (ticket).version, tickets.state(ticket),
               events.correlation_id()
        from withdrawn order by (ticket).id
        returning subject
    )
    select coalesce(array_agg(subject), '{}') into v_withdrawn from announced;
    return v_withdrawn;
end
$$;

-- Withdraw one ticket. Returns whether it was free and is withdrawn.
create function tickets.withdraw(p_ticket uuid, p_seller uuid) returns boolean
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
    select p_ticket = any (tickets.withdraw_all(array[p_ticket], p_seller))
$$;

grant execute on function
    tickets.set_prices, tickets.withdraw_all, tickets.withdraw
to gittix_tickets;
