-- squawk-ignore-file adding-not-nullable-field, disallowed-unique-constraint
-- squawk-ignore-file constraint-missing-not-valid
-- Every order gets its number before another transaction may write to orders.orders, so the table
-- is locked until the end in any case.

alter table orders.orders add column number text;

-- The functions that the triggers call do not exist while migrations run.
alter table orders.orders disable trigger user;

-- Order n gets the number (n · factor + offset) mod 2⁴⁰, written with the digits of Crockford
-- base32. No two orders get the same one, since the factor is odd. Factor and offset are random,
-- and the order by digests is independent of the orders' age, so a number does not show how many
-- orders there are.
update orders.orders o
set number = 'GT-' || numbered.digits
from (
    select mixed.id, string_agg(
        substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', (mixed.value >> 5 * place & 31)::int + 1, 1), ''
        order by place
    ) as digits
    from (
        select ids.id,
            mod(
                row_number() over (order by md5(ids.id::text)) * random.factor + random.shift,
                1099511627776
            )::bigint as value
        from orders.orders ids, (
            select random(0, 549755813887)::numeric * 2 + 1, random(0, 1099511627775)::numeric
        ) as random (factor, shift)
    ) as mixed, generate_series(0, 7) as place
    group by mixed.id
) as numbered
where numbered.id = o.id;

alter table orders.orders enable trigger user;
alter table orders.orders alter column number set not null;
alter table orders.orders add constraint orders_number_unique unique (number);
alter table orders.orders add constraint orders_number_format check (
    number ~ '^GT-[0-9A-HJKMNP-TV-Z]{8}$'
);

-- A reply that is stored under an idempotency key is an order as it was placed.
update orders.idempotency_keys k
set body = convert_to(
    (convert_from(k.body, 'UTF8')::jsonb || jsonb_build_object('number', o.number))::text, 'UTF8'
)
from orders.orders o
where k.status = 201 and o.id = (convert_from(k.body, 'UTF8')::jsonb ->> 'id')::uuid;
