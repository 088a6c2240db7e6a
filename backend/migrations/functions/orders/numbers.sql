-- The numbers of orders: `GT-` and eight digits of Crockford base32, which lacks the letters that
-- people confuse with digits. They are random, because a sequence would show the sales of the shop.

-- A number that no committed order has, or null if each of four attempts met an order. Of a million
-- orders, one attempt meets one with a probability of 10⁻⁶. The unique constraint decides between
-- orders that are inserted at the same time.
create function orders.free_number() returns text
language plpgsql volatile
as $$
declare
    v_number text;
begin
    for attempt in 1..4 loop
        v_number := orders.random_number();
        if not exists (select from orders.orders o where o.number = v_number) then
            return v_number;
        end if;
    end loop;
    return null;
end
$$;

create function orders.random_number() returns text
language plpgsql volatile
as $$
declare
    c_digits constant text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    -- The last eight bytes of a version 4 UUID have five random bits each, or more, at their end.
    v_random bytea := uuid_send(gen_random_uuid());
    v_number text := 'GT-';
begin
    for place in 8..15 loop
        v_number := v_number || substr(c_digits, (get_byte(v_random, place) & 31) + 1, 1);
    end loop;
    return v_number;
end
$$;
