-- The rules for listing tickets.

-- Whether the user may list this many more tickets of the show. `outcome` is null, show_not_found,
-- listing_closed (the show's policy is owner), sales_ended, or too_many_listed with the number of
-- those that count: a user who does not own the show may list `p_max` tickets of it. A withdrawn
-- ticket counts for another day, so that listing and withdrawing in turn is bounded as well.
--
-- The lock makes parallel requests of a user count each other's tickets.
create function tickets.check_listing(
    p_show uuid, p_seller uuid, p_count int, p_max int, out outcome text, out listed int
)
language plpgsql volatile
as $$
declare
    v_show record;
begin
    select s.owner_id, s.listing_policy,
           tickets.is_selling(s.status, s.starts_at, s.sales_end_at, clock_timestamp()) as selling
    into v_show
    from tickets.shows s where s.id = p_show;
    if not found then
        outcome := 'show_not_found';
    elsif v_show.owner_id <> p_seller and v_show.listing_policy = 'owner' then
        outcome := 'listing_closed';
    elsif not v_show.selling then
        outcome := 'sales_ended';
    elsif v_show.owner_id <> p_seller then
        perform pg_advisory_xact_lock(
            hashtextextended('listing:' || p_show || ':' || p_seller, 0)
        );
        select count(*) into listed
        from tickets.tickets t
        where t.seller_id = p_seller and t.show_id = p_show
          and (t.status <> 'withdrawn' or t.updated_at > clock_timestamp() - interval '1 day');
        if listed + p_count > p_max then
            outcome := 'too_many_listed';
        end if;
    end if;
end
$$;
grant execute on function tickets.check_listing to gittix_tickets;

-- Refuse a price or a face value that breaks a rule of its currency, and a currency that is not
-- known. A ticket that was listed before a rule keeps its price until its seller changes it.
create or replace function tickets.check_price() returns trigger
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rules tickets.currencies;
    v_broken text;
begin
    select * into v_rules from tickets.currencies c where c.code = new.currency;
    v_broken := case
        when v_rules.code is null then 'currency_known'
        when new.price < v_rules.minimum then 'price_at_least_the_minimum'
        when new.price > v_rules.maximum_price then 'price_at_most_the_maximum'
        when new.price % v_rules.step <> 0 then 'price_in_steps'
        when new.face_value > v_rules.maximum_price then 'face_value_at_most_the_maximum'
        when new.face_value % v_rules.step <> 0 then 'face_value_in_steps'
    end;
    if v_broken is not null then
        raise exception using
            errcode = 'check_violation', constraint = v_broken,
            message = format(
                'the price %s or the face value %s breaks a rule of %s', new.price,
                coalesce(new.face_value::text, 'null'), new.currency
            );
    end if;
    return null;
end
$$;

-- The shows that the user lists tickets of. One index entry is read for each show.
create function tickets.shows_of(p_seller uuid) returns setof uuid
language sql stable
as $$
    with recursive found (show_id) as (
        (select t.show_id from tickets.tickets t where t.seller_id = p_seller
         order by t.show_id limit 1)
        union all
        select (select t.show_id from tickets.tickets t
                where t.seller_id = p_seller and t.show_id > found.show_id
                order by t.show_id limit 1)
        from found where found.show_id is not null
    )
    select found.show_id from found where found.show_id is not null
$$;
grant execute on function tickets.shows_of to gittix_tickets;
