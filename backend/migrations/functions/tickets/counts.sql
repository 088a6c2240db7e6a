-- The counters of shows (decision 32): `count_changes` has what was not added to the other tables
-- yet. Readers add it themselves, so the counts are exact at any time.

-- Count the tickets that a statement inserts. Rows are only inserted, here and by
-- `tickets.record_update`, so no transaction waits for another.
create or replace function tickets.count_listed() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tickets.count_changes (
        show_id, section, currency, price, held_until, available, held, sold, version
    )
    select n.show_id, u.section, n.currency, n.price, u.held_until,
           count(*) filter (where n.status = 'available' and not n.hidden),
           count(*) filter (where n.status = 'reserved' or (n.status = 'held' and not n.hidden)),
           count(*) filter (where n.status = 'sold'),
           sum(n.version)
    from after n
    cross join lateral (
        select coalesce(n.section, '') as section, case when not n.hidden then n.held_until end
    ) u (section, held_until)
    group by n.show_id, u.section, n.currency, n.price, u.held_until;
    return null;
end
$$;

-- A step of `tickets.availability`: the lowest price of a free ticket in one currency.
create function tickets.lowest_price(p_show uuid, p_currency text) returns bigint
language sql stable
as $$
    with changes as materialized (
        select c.price, c.held_until, c.available, c.held
        from tickets.count_changes c
        where c.show_id = p_show and c.currency = p_currency
    )
    select p.price
    from (
        -- Each counter that changes make zero belongs to one of them, so the next one is not zero.
        (select p.price, p.available from tickets.price_counts p
         where p.show_id = p_show and p.currency = p_currency
         order by p.price limit (select count(*) + 1 from changes))
        union all
        select c.price, c.available from changes c
        union all
        select c.price, c.held from changes c where c.held_until <= now()
        union all
        select h.price, h.held from tickets.hold_counts h
        where h.show_id = p_show and h.currency = p_currency and h.held_until <= now()
    ) p
    group by p.price having sum(p.available) > 0
    order by p.price limit 1
$$;

-- Live counts of a show. They cost the same for any number of tickets: a few rows of the counters,
-- the changes that are not folded, and the holds past their time, which count as available.
--
-- `version` is the sum of the versions of the show and its tickets. It grows with each change of
-- any of them, and no row is written by all buyers of the show. `next_free_at` is the earliest end
-- of a hold. Prices are compared within a currency: `from_prices` has the lowest price of a free
-- ticket in each of the currencies with the most free tickets, up to five. `from_price` is the
-- first of them, in `currency`, which is that of the show's tickets while none is free.
create function tickets.availability(
    p_show uuid, out available int, out held int, out sold int, out from_price bigint,
    out currency text, out from_prices json, out next_free_at timestamptz, out version bigint
)
language sql stable
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with changes as materialized (
        select c.currency, c.price, c.held_until, sum(c.available) as available,
               sum(c.held) as held, sum(c.sold) as sold, sum(c.version) as version
        from tickets.count_changes c
        where c.show_id = p_show
        group by c.currency, c.price, c.held_until
    ), ended as materialized (
        select h.currency, h.price, h.held
        from tickets.hold_counts h where h.show_id = p_show and h.held_until <= now()
        union all
        select c.currency, c.price, c.held from changes c where c.held_until <= now()
    ), totals as materialized (
        select t.currency, sum(t.available) as available, sum(t.held) as held, sum(t.sold) as sold,
               sum(t.version) as version
        from (
            select s.currency, s.available, s.held, s.sold, s.version
            from tickets.show_counts s where s.show_id = p_show
            union all
            select c.currency, c.available, c.held, c.sold, c.version from changes c
            union all
            select e.currency, e.held, -e.held, 0, 0 from ended e
        ) t
        group by t.currency
    ), offers as materialized (
        select t.currency, t.available,
               case when t.available > 0 then tickets.lowest_price(p_show, t.currency) end as price
        from totals t
        order by t.available desc, t.currency limit 5
    ), ends as (
        (select h.held_until, h.held from tickets.hold_counts h
         where h.show_id = p_show and h.held_until > now()
         order by h.held_until limit (select count(*) + 1 from changes))
        union all
        select c.held_until, c.held from changes c where c.held_until > now()
    )
    select coalesce(sum(t.available), 0)::int, coalesce(sum(t.held), 0)::int,
           coalesce(sum(t.sold), 0)::int,
           (select o.price from offers o order by o.available desc, o.currency limit 1),
           (select o.currency from offers o order by o.available desc, o.currency limit 1),
           (select coalesce(
                json_agg(
                    json_build_object('currency', o.currency, 'price', o.price)
                    order by o.available desc, o.currency
                ), '[]'
            ) from offers o where o.price is not null),
           (select e.held_until from ends e group by e.held_until having sum(e.held) > 0
            order by e.held_until limit 1),
           (select s.version from tickets.shows s where s.id = p_show)
           + coalesce(sum(t.version), 0)::bigint
    from totals t
$$;

-- Add up to `p_limit` changes to the counters and delete them. Returns their number; zero also
-- while another transaction folds. Readers see the changes before or after, never twice.
create function tickets.fold_counts(p_limit int) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_taken tickets.count_changes[];
begin
    if not pg_try_advisory_xact_lock(hashtextextended('tickets.fold_counts', 0)) then
        return 0;
    end if;
    with taken as (
        delete from tickets.count_changes c
        where c.ctid = any (array(
            select o.ctid from tickets.count_changes o order by o.show_id limit p_limit
        ))
        returning c as change
    )
    select array_agg(taken.change) into v_taken from taken;
    perform tickets.fold_totals(v_taken);
    perform tickets.fold_prices(v_taken);
    perform tickets.fold_holds(v_taken);
    perform tickets.fold_sections(v_taken);
    perform tickets.fold_section_prices(v_taken);
    return coalesce(cardinality(v_taken), 0);
end
$$;
grant execute on function tickets.availability, tickets.lowest_price
to gittix_tickets, gittix_check;
grant execute on function tickets.fold_counts to gittix_tickets;

-- The functions below are steps of `tickets.fold_counts`: they run with its rights.

create function tickets.fold_totals(p_changes tickets.count_changes[]) returns void
language sql volatile
as $$
    merge into tickets.show_counts s
    using (
        select n.show_id, n.currency, sum(n.available) as available, sum(n.held) as held,
               sum(n.sold) as sold, sum(n.version) as version
        from unnest(p_changes) n
        group by n.show_id, n.currency
    ) c on s.show_id = c.show_id and s.currency = c.currency
    when matched then update set
        available = s.available + c.available, held = s.held + c.held, sold = s.sold + c.sold,
        version = s.version + c.version
    when not matched then insert (show_id, currency, available, held, sold, version)
    values (c.show_id, c.currency, c.available, c.held, c.sold, c.version)
$$;

create function tickets.fold_prices(p_changes tickets.count_changes[]) returns void
language sql volatile
as $$
    merge into tickets.price_counts p
    using (
        select n.show_id, n.currency, n.price, sum(n.available) as available
        from unnest(p_changes) n
        group by n.show_id, n.currency, n.price
        having sum(n.available) <> 0
    ) c on p.show_id = c.show_id and p.currency = c.currency and p.price = c.price
    when matched and p.available + c.available = 0 then delete
    when matched then update set available = p.available + c.available
    when not matched then insert (show_id, currency, price, available)
    values (c.show_id, c.currency, c.price, c.available)
$$;

create function tickets.fold_holds(p_changes tickets.count_changes[]) returns void
language sql volatile
as $$
    merge into tickets.hold_counts h
    using (
        select n.show_id, n.held_until, n.currency, n.price, sum(n.held) as held
        from unnest(p_changes) n
        where n.held_until is not null
        group by n.show_id, n.held_until, n.currency, n.price
        having sum(n.held) <> 0
    ) c
    on h.show_id = c.show_id and h.held_until = c.held_until and h.currency = c.currency
    and h.price = c.price
    when matched and h.held + c.held = 0 then delete
    when matched then update set held = h.held + c.held
    when not matched then insert (show_id, held_until, currency, price, held)
    values (c.show_id, c.held_until, c.currency, c.price, c.held)
$$;

create function tickets.fold_sections(p_changes tickets.count_changes[]) returns void
language sql volatile
as $$
    merge into tickets.section_counts s
    using (
        select n.show_id, n.section, n.currency, sum(n.available) as available,
               sum(n.held) as held, sum(n.sold) as sold
        from unnest(p_changes) n
        group by n.show_id, n.section, n.currency
        having sum(n.available) <> 0 or sum(n.held) <> 0 or sum(n.sold) <> 0
    ) c on s.show_id = c.show_id and s.section = c.section and s.currency = c.currency
    when matched and s.available + c.available = 0 and s.held + c.held = 0
        and s.sold + c.sold = 0 then delete
    when matched then update set
        available = s.available + c.available, held = s.held + c.held, sold = s.sold + c.sold
    when not matched then insert (show_id, section, currency, available, held, sold)
    values (c.show_id, c.section, c.currency, c.available, c.held, c.sold)
$$;

create function tickets.fold_section_prices(p_changes tickets.count_changes[]) returns void
language sql volatile
as $$
    merge into tickets.section_price_counts p
    using (
        select n.show_id, n.section, n.currency, n.price, sum(n.available) as available
        from unnest(p_changes) n
        group by n.show_id, n.section, n.currency, n.price
        having sum(n.available) <> 0
    ) c
    on p.show_id = c.show_id and p.section = c.section and p.currency = c.currency
    and p.price = c.price
    when matched and p.available + c.available = 0 then delete
    when matched then update set available = p.available + c.available
    when not matched then insert (show_id, section, currency, price, available)
    values (c.show_id, c.section, c.currency, c.price, c.available)
$$;

-- Count all tickets again, after rows were changed without triggers (a restore, a manual repair).
-- Writers of tickets wait meanwhile. Only the owner of the database may call it.
create function tickets.recount() returns void
language plpgsql volatile
as $$
begin
    perform pg_advisory_xact_lock(hashtextextended('tickets.fold_counts', 0));
    lock table tickets.tickets in share row exclusive mode;
    delete from tickets.count_changes;
    delete from tickets.show_counts;
    delete from tickets.price_counts;
    delete from tickets.hold_counts;
    delete from tickets.section_counts;
    delete from tickets.section_price_counts;
    insert into tickets.count_changes (
        show_id, section, currency, price, held_until, available, held, sold, version
    )
    select t.show_id, u.section, t.currency, t.price, u.held_until,
           count(*) filter (where t.status = 'available' and not t.hidden),
           count(*) filter (where t.status = 'reserved' or (t.status = 'held' and not t.hidden)),
           count(*) filter (where t.status = 'sold'),
           sum(t.version)
    from tickets.tickets t
    cross join lateral (
        select coalesce(t.section, '') as section, case when not t.hidden then t.held_until end
    ) u (section, held_until)
    group by t.show_id, u.section, t.currency, t.price, u.held_until;
end
$$;
