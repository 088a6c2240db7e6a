-- The errors that functions of orders raise, by SQLSTATE. `backend/orders/sqlstates.py` has an
-- exception for each of them that leaves a function.
--
-- | SQLSTATE | name                     | raised when                                           |
-- | -------- | ------------------------ | ----------------------------------------------------- |
-- | GT001    | stale                    | a row changed between the read and the lock; the same |
-- |          |                          | function catches it, which undoes its writes          |
-- | GT002    | too_many_tickets_of_show | the buyer's limit for a show is exceeded              |
-- | GT003    | buyer_busy               | the buyer's lock was not free within `lock_timeout`   |
-- | GT004    | displaced_busy           | a displaced order or one of its tickets was not       |
-- | GT005    | budget_spent             | a budget was used up between the read and the lock    |
-- | GT006    | total_too_small          | Stripe does not charge so little; detail: currency    |
-- | GT007    | total_too_large          | Stripe does not charge so much; detail: currency      |
--
-- lock_not_available (55P03) out of `orders.place` means that a ticket of the order is locked.
create function orders.raise_error(p_name text, p_detail text default '') returns void
language plpgsql
as $$
begin
    raise exception using
        errcode = case p_name
            when 'stale' then 'GT001'
            when 'too_many_tickets_of_show' then 'GT002'
            when 'buyer_busy' then 'GT003'
            when 'displaced_busy' then 'GT004'
            when 'budget_spent' then 'GT005'
            when 'total_too_small' then 'GT006'
            when 'total_too_large' then 'GT007'
        end,
        message = p_name,
        detail = p_detail;
end
$$;
