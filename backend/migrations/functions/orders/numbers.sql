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

-- Base64 writes six random bytes as eight characters of 64, and two of these stand for each digit.
-- `random` is the generator of the session, which Postgres seeds from the system's: a number is no
-- secret, and a UUID would read from the system for each order. Postgres inlines this function.
create function orders.random_number() returns text
language sql volatile
return 'GT-' || translate(
    encode(substring(int8send(random(0, (1::bigint << 48) - 1)) from 3), 'base64'),
    'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/',
    '0123456789ABCDEFGHJKMNPQRSTVWXYZ0123456789ABCDEFGHJKMNPQRSTVWXYZ'
);
