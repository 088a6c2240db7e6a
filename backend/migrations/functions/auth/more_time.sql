-- Whether the user may extend each of its unpaid holds once. It may be a fact about the user's
-- health, so no token, event or message contains it. A step of `orders.extend`.
create function auth.needs_more_time(p_user uuid) returns boolean
language sql stable
begin atomic
    select coalesce((select u.needs_more_time from auth.users u where u.id = p_user), false);
end;
