-- Budgets: amounts that an account and its networks may use within an hour, such as seconds of
-- unpaid holds or declined cards. A budget refills evenly, so that an empty one is full after an
-- hour. Its row has the time at which it is full again (the generic cell rate algorithm); a budget
-- without a row is full.
--
-- Budgets are locked last, after tickets and orders: unpaid time before declines, and each kind in
-- the order of its subjects. Until the caller commits, other orders of the same network wait here,
-- so a refusal comes from the read in `orders.spent_budgets` wherever it can.

-- The time from which the budget has `p_amount`.
create function orders.budget_at(b orders.budgets, p_amount double precision) returns timestamptz
language sql stable
return b.full_at + interval '1 hour' * (p_amount / b.hourly) - interval '1 hour';

-- The subjects whose budget lacks `p_amount` now, and the time from which it suffices.
create function orders.spent_budgets(
    p_subjects text[], p_amount double precision, p_now timestamptz
) returns table (subject text, retry_at timestamptz)
language sql stable
begin atomic
    select b.subject, orders.budget_at(b, p_amount)
    from orders.budgets b
    where b.subject = any (p_subjects) and orders.budget_at(b, p_amount) > p_now;
end;

-- Take `p_amount` from each budget; `p_hourly[n]` is the size of the budget of `p_subjects[n]`.
-- Returns the budgets' ids, by which `orders.adjust_budgets` finds them. Raises budget_spent, with
-- the seconds to wait, the time and the subject as detail, when another transaction used one of
-- them up since the caller's read.
create function orders.charge(
    p_subjects text[], p_hourly bigint[], p_amount double precision
) returns bigint[]
language plpgsql
as $$
declare
    v_now timestamptz := clock_timestamp();
    v_charged bigint[];
begin
    if cardinality(p_subjects) = 0 then
        return '{}';
    end if;
    with charged as (
        insert into orders.budgets as b (subject, hourly, full_at)
        select w.subject, w.hourly, v_now + interval '1 hour' * (p_amount / w.hourly)
        from unnest(p_subjects, p_hourly) w (subject, hourly)
        order by w.subject
        on conflict (subject) do update
        set hourly = excluded.hourly,
            full_at = greatest(b.full_at, v_now)
                + interval '1 hour' * (p_amount / excluded.hourly)
        where greatest(b.full_at, v_now) + interval '1 hour' * (p_amount / excluded.hourly)
            <= v_now + interval '1 hour'
        returning b.id
    )
    select array_agg(charged.id) into v_charged from charged;
    if coalesce(cardinality(v_charged), 0) < cardinality(p_subjects) then
        -- Without a budget here, the time has just come.
        perform orders.raise_budget_spent(b.subject, b.retry_at, v_now)
        from (
            select * from orders.spent_budgets(p_subjects, p_amount, v_now)
            union all select p_subjects[1], v_now
        ) b
        order by b.retry_at desc limit 1;
    end if;
    return v_charged;
end
$$;

create function orders.raise_budget_spent(
    p_subject text, p_retry_at timestamptz, p_now timestamptz
) returns void
language plpgsql
as $$
begin
    perform orders.raise_error('budget_spent', format(
        '%s %s %s', ceil(extract(epoch from p_retry_at - p_now)),
        to_char(p_retry_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), p_subject
    ));
end
$$;

-- Of budgets that `orders.charge` charged, those that lack `p_amount` more, and the time from which
-- each suffices.
create function orders.lacking_budgets(
    p_budgets bigint[], p_amount double precision, p_now timestamptz
) returns table (subject text, retry_at timestamptz)
language sql stable
begin atomic
    select b.subject, orders.budget_at(b, p_amount)
    from orders.budgets b
    where b.id = any (p_budgets) and orders.budget_at(b, p_amount) > p_now;
end;

-- Charge `p_amount` more to budgets that `orders.charge` charged, if each has it. Raises
-- budget_spent.
create function orders.charge_more(p_budgets bigint[], p_amount double precision) returns void
language plpgsql
as $$
declare
    v_now timestamptz;
begin
    perform from orders.budgets b
    where b.id = any (p_budgets) order by b.subject for no key update;
    v_now := clock_timestamp();
    perform orders.raise_budget_spent(b.subject, b.retry_at, v_now)
    from orders.lacking_budgets(p_budgets, p_amount, v_now) b
    order by b.retry_at desc limit 1;
    perform orders.adjust_budgets(p_budgets, p_amount);
end
$$;

-- Charge `p_amount` more to budgets that `orders.charge` charged; a negative amount is given back.
-- A budget that was purged since is full.
create function orders.adjust_budgets(p_budgets bigint[], p_amount double precision) returns void
language plpgsql
as $$
begin
    if p_amount = 0 or coalesce(cardinality(p_budgets), 0) = 0 then
        return;
    end if;
    perform from orders.budgets b
    where b.id = any (p_budgets) order by b.subject for no key update;
    update orders.budgets b
    set full_at = greatest(b.full_at, clock_timestamp())
        + interval '1 hour' * (p_amount / b.hourly)
    where b.id = any (p_budgets);
end
$$;

-- Give the ticket-seconds of an order's hold since `p_since` back.
create function orders.give_hold_back(o orders.orders, p_since timestamptz) returns void
language plpgsql
as $$
begin
    if p_since < o.expires_at then
        perform orders.adjust_budgets(
            o.charged_to,
            -cardinality(orders.tickets_of(o.id)) * extract(epoch from o.expires_at - p_since)
        );
    end if;
end
$$;

-- Delete the budgets that are full again, except those that a running hold may still use. A budget
-- that a charge has locked is skipped.
create function orders.purge_budgets() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    delete from orders.budgets where id in (
        select b.id from orders.budgets b
        where b.full_at < now() - interval '5 minutes' for update skip locked
    );
end
$$;
grant execute on function orders.purge_budgets to gittix_orders;
