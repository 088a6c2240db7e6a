-- The limits of a buyer. Steps of `orders.place`: they run with its rights and its settings.

-- Lock the buyer, so that parallel orders of one buyer count each other, and check the number of
-- open orders and the cooldown. `outcome` is null, too_many_open_orders, or cooling_down until
-- `refused_until`. `decided_at` is the time after the lock was taken.
--
-- An ended hold counts as unpaid if it kept its tickets for at least half of `p_hold`. An order's
-- id begins with its time, so only the newest end of the buyer's index is read.
create function orders.check_limits(
    p_buyer uuid, p_hold interval, p_grace interval, p_max_open int, p_max_unpaid int,
    p_cooldown interval,
    out outcome text, out refused_until timestamptz, out decided_at timestamptz
)
language plpgsql
as $$
declare
    v_recent uuid;
    v_open int;
    v_cooldown_ends_at timestamptz;
begin
    begin
        perform pg_advisory_xact_lock(hashtextextended('buyer:' || p_buyer, 0));
    exception when lock_not_available then
        perform orders.raise_error('buyer_busy');
    end;
    decided_at := clock_timestamp();
    v_recent := orders.id_at(decided_at - p_hold - p_grace - p_cooldown);
    select count(*) filter (where recent.open and recent.ended_at > decided_at),
           (array_agg(recent.ended_at + p_cooldown order by recent.ended_at desc) filter (
               where recent.ended_at <= decided_at
                 and recent.ended_at - recent.created_at >= p_hold / 2
           ))[p_max_unpaid]
    into v_open, v_cooldown_ends_at
    from (
        select o.created_at,
               o.status in ('pending', 'awaiting_payment') as open,
               case
                   when o.status in ('cancelled', 'expired') then least(o.updated_at, o.expires_at)
                   else o.expires_at
               end as ended_at
        from orders.orders o
        where o.buyer_id = p_buyer and o.id > v_recent
          and o.status in ('pending', 'awaiting_payment', 'cancelled', 'expired')
    ) recent;
    outcome := case
        when v_open >= p_max_open then 'too_many_open_orders'
        when v_cooldown_ends_at > decided_at then 'cooling_down'
    end;
    if outcome is not null then
        refused_until := v_cooldown_ends_at;
    end if;
end
$$;

-- Raises too_many_tickets_of_show. The shows of the tickets are known only once they are held; the
-- error undoes the hold.
create function orders.check_tickets_of_show(
    p_buyer uuid, p_held tickets.tickets[], p_max_per_show int
) returns void
language plpgsql
as $$
begin
    if exists (
        select from unnest(p_held) t
        group by t.show_id
        having count(*) + (
            select count(*) from orders.lines l
            where l.buyer_id = p_buyer and l.show_id = t.show_id and l.live
        ) > p_max_per_show
    ) then
        perform orders.raise_error('too_many_tickets_of_show');
    end if;
end
$$;
