-- Returns: refunds that the buyer of a ticket may have because its show is not as bought.

-- Whether the buyer may return the order's line, irrespective of the refund window. A show has
-- changed if its place differs, or its start by 30 minutes or more; a returned ticket of a changed
-- show must not have been of use, so the show must not have started.
create function orders.is_returnable(l orders.lines, s tickets.shows) returns boolean
language plpgsql stable
as $$
begin
    return case s.status
        when 'on_sale' then s.starts_at > clock_timestamp() and (
            abs(extract(epoch from s.starts_at - l.show_starts_at)) >= 1800
            or tickets.plain_text(s.venue) <> tickets.plain_text(l.show_venue)
            or tickets.plain_text(s.city) <> tickets.plain_text(l.show_city)
        )
        else true
    end;
end
$$;

-- The tickets on the sold lines of an order that its buyer may return.
create function orders.returnable(p_order uuid) returns uuid[]
language sql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    select coalesce(array_agg(l.ticket_id order by l.ticket_id), '{}')
    from orders.orders o
    join orders.lines l on l.order_id = o.id
    join tickets.shows s on s.id = l.show_id
    where o.id = p_order and o.status in ('completed', 'refund_pending') and l.status = 'sold'
      and orders.is_returnable(l, s)
$$;

-- Up to `p_limit` sold tickets of cancelled shows whose money is not being returned yet, by their
-- orders. A refund that failed is tried again after an hour.
create function orders.lines_to_return(
    p_limit int, out order_id uuid, out buyer_id uuid, out tickets uuid[]
) returns setof record
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_bitmapscan = off
as $$
#variable_conflict use_column
begin
    return query
    select d.order_id, d.buyer_id, array_agg(d.ticket_id)
    from (
        select l.order_id, l.buyer_id, l.ticket_id
        from tickets.shows s
        cross join lateral tickets.of_show(s.id) t
        join orders.lines l on l.order_id = t.order_id and l.ticket_id = t.id
        join orders.orders o on o.id = l.order_id
        where s.status = 'cancelled' and s.wound_up_at is null
          and t.status = 'sold' and l.status = 'sold'
          and o.status in ('completed', 'refund_pending')
          and coalesce(l.refund_failed_at < clock_timestamp() - interval '1 hour', true)
        limit p_limit
    ) d
    group by d.order_id, d.buyer_id;
end
$$;

grant execute on function orders.returnable to gittix_orders;
grant execute on function orders.lines_to_return to gittix_payments;
