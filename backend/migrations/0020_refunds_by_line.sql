-- squawk-ignore-file adding-not-nullable-field, constraint-missing-not-valid
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion
-- squawk-ignore-file ban-drop-column
-- Every line gets its fee before another transaction may write to orders.lines, so the table is
-- locked until the end in any case. Only functions used the column that goes, and they are replaced
-- with this migration.

-- The part of the order's fee that falls to the line. Price and fee are what a refund of the line
-- returns; over all lines of an order they add up to its total.
alter table orders.lines add column fee bigint;
-- The course of a line after its order is completed. Before, the status has no meaning: a column
-- that the completion sets would be a second write of each line.
alter table orders.lines add column status text not null default 'sold';
-- The refund that has the line while it is refund_pending or refunded. A refunded line without one
-- is owed to its buyer, since the bank returned the money to the shop.
alter table orders.lines add column refund_id uuid;
-- What the user who refunded the line gave as the reason.
alter table orders.lines add column refund_reason text;
alter table orders.lines add constraint lines_status_known check (
    status in ('sold', 'refund_pending', 'refunded')
);
alter table orders.lines add constraint lines_refunded_is_not_live check (
    not (live and status = 'refunded')
);
alter table orders.lines add constraint lines_refund_iff_refunding check (
    case status when 'sold' then refund_id is null
                when 'refund_pending' then refund_id is not null else true end
);

-- What a refund returns for each line. A row is live until its refund has failed. Another amount of
-- the same refund, which belongs to no line, is the rest of `payments.refunds.amount`.
create table payments.refund_lines (
    refund_id uuid not null references payments.refunds (id),
    order_id uuid not null,
    ticket_id uuid not null,
    amount bigint not null,
    live boolean not null default true,
    primary key (refund_id, ticket_id)
);
create unique index refund_lines_one_live on payments.refund_lines (order_id, ticket_id)
where live;

-- The functions that the triggers call do not exist while migrations run.
alter table orders.lines disable trigger user;

update orders.lines l
set fee = shared.fee,
    status = case o.status when 'refunded' then 'refunded'
                           when 'refund_pending' then 'refund_pending' else 'sold' end,
    live = l.live and o.status <> 'refunded',
    refund_id = case o.status
        when 'refund_pending' then o.refund_id
        when 'refunded' then (
            select r.id from payments.refunds r where r.order_id = o.id and r.status <> 'failed'
        )
    end
from orders.orders o, (
    select summed.order_id, summed.ticket_id,
           summed.until - coalesce(
               lag(summed.until) over (partition by summed.order_id order by summed.ticket_id), 0
           ) - summed.price as fee
    from (
        select priced.order_id, priced.ticket_id, priced.price,
               case
                   when sum(priced.price) over upwards = o.subtotal then o.total
                   else c.step * round(
                       o.total::numeric * sum(priced.price) over upwards / (o.subtotal * c.step)
                   )
               end as until
        from orders.lines priced
        join orders.orders o on o.id = priced.order_id
        join tickets.currencies c on c.code = o.currency
        window upwards as (partition by priced.order_id order by priced.ticket_id)
    ) as summed
) as shared
where o.id = l.order_id and shared.order_id = l.order_id and shared.ticket_id = l.ticket_id;

alter table orders.lines enable trigger user;
alter table orders.lines alter column fee set not null;

insert into payments.refund_lines (refund_id, order_id, ticket_id, amount, live)
select r.id, r.order_id, l.ticket_id, l.price + l.fee, r.status <> 'failed'
from payments.refunds r join orders.lines l on l.order_id = r.order_id;

-- Several refunds of one order may be under way for different lines.
drop index payments.refunds_one_an_order;

alter table orders.orders drop column refund_id;

-- A reply that is stored under an idempotency key is an order as it was placed.
update orders.idempotency_keys k
set body = convert_to(
    (placed.body || jsonb_build_object('refunded', 0, 'tickets', placed.tickets))::text, 'UTF8'
)
from (
    select stored.user_id, stored.key, stored.body, jsonb_agg(
        line.value || jsonb_build_object('fee', l.fee, 'status', null, 'refund_reason', null)
        order by line.place
    ) as tickets
    from (
        select s.user_id, s.key, convert_from(s.body, 'UTF8')::jsonb as body
        from orders.idempotency_keys s where s.status = 201
    ) as stored
    cross join jsonb_array_elements(stored.body -> 'tickets') with ordinality as line (value, place)
    join orders.lines l
        on l.order_id = (stored.body ->> 'id')::uuid
        and l.ticket_id = (line.value ->> 'id')::uuid
    group by stored.user_id, stored.key, stored.body
) as placed
where k.user_id = placed.user_id and k.key = placed.key;
