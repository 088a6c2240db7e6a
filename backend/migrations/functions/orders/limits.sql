-- The limits of a buyer. Steps of `orders.place`: they run with its rights and its settings.

-- Lock the buyer, so that parallel orders of one buyer count each other, and check the limits that
-- are known before the tickets are held. `outcome` is null or one of
-- - too_many_open_orders;
-- - given_up: the buyer gave the ticket `refused` up less than `p_rehold` ago;
-- - cooling_down: the budget `spent` lacks the `p_amount` ticket-seconds of this hold.
-- The latter two have the end of the refusal. `decided_at` is the time after the lock was taken.
-- `has_many` is whether the buyer would have more than `p_max_per_show` live lines: with fewer, no
-- show has too many of them.
--
-- `p_longest` is the longest time of a hold: with its extension and the grace of a payment. An
-- order's id begins with its time, so only the newest end of the buyer's index is read. The id
-- may be older than the order's time by the wait for the lock.
create function orders.check_limits(
    p_buyer uuid, p_tickets uuid[], p_longest interval, p_max_open int, p_max_per_show int,
    p_rehold interval, p_subjects text[], p_amount double precision,
    out outcome text, out refused uuid, out refused_until timestamptz, out spent text,
    out decided_at timestamptz, out has_many boolean
)
language plpgsql
as $$
declare
    v_recent uuid;
    v_open int;
    v_ended int;
    v_budget_at timestamptz;
begin
    if not pg_try_advisory_xact_lock(hashtextextended('buyer:' || p_buyer, 0)) then
        perform orders.wait_for_buyer(p_buyer);
    end if;
    decided_at := clock_timestamp();
    v_recent := orders.id_at(decided_at - p_longest - p_rehold - interval '5 seconds');
    select count(*) filter (where o.is_open), count(*) filter (where not o.is_open),
           (select max(orders.budget_at(b, p_amount)) from orders.budgets b
            where b.subject = any (p_subjects)),
           cardinality(p_tickets) > p_max_per_show or exists (
               select from orders.lines l where l.buyer_id = p_buyer and l.live
               offset greatest(p_max_per_show - cardinality(p_tickets), 0)
           )
    into v_open, v_ended, v_budget_at, has_many
    from (
        -- Compared as a row, which only the buyer's index serves: in a plan that was made while the
        -- table was small, the primary key would read the recent orders of all buyers.
        select u.status in ('pending', 'awaiting_payment') and u.expires_at > decided_at as is_open
        from orders.orders u
        where u.buyer_id = p_buyer and (u.buyer_id, u.id) > (p_buyer, v_recent)
          and u.status in ('pending', 'awaiting_payment', 'cancelled', 'expired')
    ) o;
    if v_open < p_max_open and v_ended = 0 and coalesce(v_budget_at <= decided_at, true) then
        return;
    end if;
    if v_open >= p_max_open then
        outcome := 'too_many_open_orders';
        return;
    end if;
    if v_ended > 0 then
        select 'given_up', g.ticket_id, g.given_up_at + p_rehold
        into outcome, refused, refused_until
        from orders.last_given_up(p_buyer, p_tickets, v_recent, decided_at) g
        where g.given_up_at + p_rehold > decided_at;
    end if;
    if outcome is null and v_budget_at > decided_at then
        outcome := 'cooling_down';
        select b.subject, b.retry_at into spent, refused_until
        from orders.spent_budgets(p_subjects, p_amount, decided_at) b
        order by b.retry_at desc limit 1;
    end if;
end
$$;

-- The ticket of `p_tickets` that the buyer gave up last, by an order after `p_after` that ended
-- unpaid. A join would depend on the planner's estimate of the number of recent orders.
create function orders.last_given_up(
    p_buyer uuid, p_tickets uuid[], p_after uuid, p_now timestamptz
) returns table (ticket_id uuid, given_up_at timestamptz)
language sql stable
begin atomic
    select l.ticket_id, o.ended_at
    from (
        select u.id,
               case
                   when u.status in ('cancelled', 'expired') then least(u.updated_at, u.expires_at)
                   else u.expires_at
               end as ended_at
        from orders.orders u
        where u.buyer_id = p_buyer and (u.buyer_id, u.id) > (p_buyer, p_after)
          and u.status in ('pending', 'awaiting_payment', 'cancelled', 'expired')
    ) o
    cross join lateral (
        select t.ticket_id from orders.lines t
        where t.order_id = o.id and t.ticket_id = any (p_tickets) limit 1
    ) l
    where o.ended_at <= p_now
    order by o.ended_at desc limit 1;
end;

-- Wait for the buyer's lock. Raises buyer_busy. Catching the error needs a subtransaction, which a
-- buyer whose lock is free does not pay for.
create function orders.wait_for_buyer(p_buyer uuid) returns void
language plpgsql
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('buyer:' || p_buyer, 0));
exception when lock_not_available then
    perform orders.raise_error('buyer_busy');
end
$$;

-- Whether the buyer has too many tickets of a show with these. Their shows are known only once they
-- are held; the caller's error undoes the hold.
create function orders.exceeds_limit_of_show(
    p_buyer uuid, p_held tickets.tickets[], p_max_per_show int
) returns boolean
language plpgsql
as $$
begin
    return exists (
        select from unnest(p_held) t
        group by t.show_id
        having count(*) + (
            select count(*) from orders.lines l
            where l.buyer_id = p_buyer and l.show_id = t.show_id and l.live
        ) > p_max_per_show
    );
end
$$;
