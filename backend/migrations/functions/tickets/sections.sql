-- A step of `tickets.section_totals`: the names of the next sections with counters, by one step of
-- the index for each, however many currencies it has.
create function tickets.next_sections(p_show uuid, p_after text, p_limit bigint)
returns setof text
language sql stable
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with recursive known (section) as (
        (select s.section from tickets.section_counts s
         where s.show_id = p_show
           and s.section >= coalesce(p_after, '') and s.section is distinct from p_after
         order by s.section limit 1)
        union all
        select (select s.section from tickets.section_counts s
                where s.show_id = p_show and s.section > k.section
                order by s.section limit 1)
        from known k where k.section is not null
    )
    select k.section from known k where k.section is not null limit p_limit
$$;

-- A step of `tickets.sections`: the counts of at least the next `p_limit` sections, by currency.
create function tickets.section_totals(p_show uuid, p_after text, p_limit bigint)
returns table (section text, currency text, available bigint, held bigint, sold bigint)
language sql stable
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with changes as materialized (
        select c.section, c.currency, c.available, c.held, c.sold
        from tickets.count_changes c
        where c.show_id = p_show
          and c.section >= coalesce(p_after, '') and c.section is distinct from p_after
    ), names as materialized (
        -- The changes may leave as many sections empty as they belong to.
        select k.section from tickets.next_sections(
            p_show, p_after, p_limit + (select count(distinct c.section) from changes c)
        ) k (section)
        union
        select c.section from changes c
    )
    select t.section, t.currency, sum(t.available)::bigint, sum(t.held)::bigint,
           sum(t.sold)::bigint
    from (
        select n.section, s.currency, s.available, s.held, s.sold
        from names n
        cross join lateral (
            select * from tickets.section_counts s
            where s.show_id = p_show and s.section = n.section offset 0
        ) s
        union all
        select * from changes c
    ) t
    group by t.section, t.currency
$$;

-- The sections of a show by name, at most `p_limit`, from the first after `p_after`; null starts
-- with the first. A section without open or sold tickets is left out. The section of tickets
-- without one is ''.
--
-- The cost depends on the limit, and not on the numbers of sections, prices and tickets. A hold
-- counts as held until its ticket is released, which is up to a second after its end.
-- `from_prices` is as in `tickets.availability`.
create function tickets.sections(p_show uuid, p_after text, p_limit int)
returns table (section text, available bigint, held bigint, sold bigint, from_prices json)
language sql stable
set enable_seqscan = off
set enable_bitmapscan = off
as $$
    with changes as materialized (
        select c.section, c.currency, c.price, c.available
        from tickets.count_changes c where c.show_id = p_show
    ), totals as materialized (
        select * from tickets.section_totals(p_show, p_after, p_limit)
    ), page as materialized (
        select t.section, sum(t.available) as available, sum(t.held) as held, sum(t.sold) as sold
        from totals t group by t.section
        having sum(t.available) + sum(t.held) + sum(t.sold) > 0
        order by t.section limit p_limit
    )
    select p.section, p.available::bigint, p.held::bigint, p.sold::bigint, coalesce(f.prices, '[]')
    from page p
    cross join lateral (
        select json_agg(
            json_build_object('currency', o.currency, 'price', l.price)
            order by o.available desc, o.currency
        ) as prices
        from (
            select t.currency, t.available from totals t
            where t.section = p.section and t.available > 0
            order by t.available desc, t.currency limit 5
        ) o
        cross join lateral (
            select q.price
            from (
                -- As in `tickets.lowest_price`: a counter that changes make zero belongs to one of
                -- them.
                (select s.price, s.available from tickets.section_price_counts s
                 where s.show_id = p_show and s.section = p.section and s.currency = o.currency
                 order by s.price
                 limit 1 + (select count(*) from changes c
                            where c.section = p.section and c.currency = o.currency))
                union all
                select c.price, c.available from changes c
                where c.section = p.section and c.currency = o.currency
            ) q
            group by q.price having sum(q.available) > 0 order by q.price limit 1
        ) l
    ) f
    order by p.section
$$;
grant execute on function tickets.sections, tickets.section_totals, tickets.next_sections
to gittix_tickets;
