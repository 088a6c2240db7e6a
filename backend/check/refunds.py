"""The part of invariant I2 about refunds: lines, refunds and the captured money agree."""

# A line names its refund while it is being refunded and after. A refunded line without a refund is
# owed to its buyer: the bank returned its money to the shop, which the comparison with the ledger
# reports.
VIOLATIONS_SQL = """
    select format('order %s is %s, but its lines are %s', o.id, o.status, l.statuses)
    from orders.orders o
    join (
        select order_id, string_agg(distinct status, ', ' order by status) as statuses,
            case when bool_and(status = 'refunded') then 'refunded'
                when bool_or(status = 'sold') then 'completed' else 'refund_pending' end as status
        from orders.lines group by order_id
    ) l on l.order_id = o.id
    where case when o.status in ('completed', 'refund_pending', 'refunded')
        then o.status <> l.status else l.statuses <> 'sold' end
    union all
    select format('ticket %s of order %s is %s, but its line is %slive', l.ticket_id, o.id,
        l.status, case when l.live then '' else 'not ' end)
    from orders.lines l join orders.orders o on o.id = l.order_id
    where o.status in ('completed', 'refund_pending', 'refunded')
      and l.live = (l.status = 'refunded')
    union all
    select format('refund %s of order %s is %s with %s %s, but its lines add up to %s', r.id,
        r.order_id, r.status, r.amount, r.currency, coalesce(sum(l.price + l.fee), 0))
    from payments.refunds r
    left join orders.lines l on l.order_id = r.order_id and l.refund_id = r.id
    where r.status <> 'failed'
    group by r.id having coalesce(sum(l.price + l.fee), 0) <> r.amount
    union all
    select format('refund %s is of %s, but its own lines add up to %s', r.id, r.amount,
        coalesce(sum(l.amount), 0))
    from payments.refunds r left join payments.refund_lines l on l.refund_id = r.id
    group by r.id having coalesce(sum(l.amount), 0) <> r.amount
        or bool_or(l.live = (r.status = 'failed'))
    union all
    select format('ticket %s of order %s is %s by refund %s, which is %s', l.ticket_id, l.order_id,
        l.status, l.refund_id, coalesce(r.status, 'not there'))
    from orders.lines l left join payments.refunds r on r.id = l.refund_id
        and r.order_id = l.order_id
    where l.refund_id is not null and case
        when r.status is null or r.status = 'failed' then true
        when l.status = 'refund_pending' then r.status = 'succeeded'
        else false
    end
    union all
    select format('payment %s captured %s %s, but %s are refunded', p.id, p.amount, p.currency,
        sum(r.amount))
    from payments.payments p join payments.refunds r on r.payment_id = p.id
    where r.status <> 'failed' group by p.id having sum(r.amount) > p.amount
    union all
    select 'no valid unique index on payments.refund_lines (order_id, ticket_id) where live'
    where not exists (
        select from pg_index i
        where i.indrelid = 'payments.refund_lines'::regclass and i.indisunique and i.indisvalid
          and i.indnatts = 2 and pg_get_indexdef(i.indexrelid, 1, true) = 'order_id'
          and pg_get_indexdef(i.indexrelid, 2, true) = 'ticket_id'
          and pg_get_expr(i.indpred, i.indrelid) = 'live'
    )
"""

COUNT_SQL = "select count(*) from payments.refunds"
