-- Gives a new account its handle, generated unless given, and on a change releases the former one.
--
-- Raises unique_violation with the constraint `handles_taken` for a handle that is reserved, that
-- another account has, or that it released less than 90 days ago; and check_violation with the
-- constraint `handles_released_often` if the account released more than five in 90 days.
create or replace function auth.claim_handle() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    c_reserved constant interval := '90 days';
    c_released constant int := 5;
begin
    if tg_op = 'INSERT' and new.handle is null then
        new.handle := auth.generate_handle(new.id);
    elsif tg_op = 'INSERT' or new.handle <> old.handle then
        if tg_op = 'UPDATE' then
            -- One change at a time: two accounts that change to each other's handle would deadlock.
            perform pg_advisory_xact_lock('auth.handles'::regclass::oid::bigint);
            update auth.handles set released_at = clock_timestamp()
            where user_id = new.id and released_at is null;
        end if;
        insert into auth.handles as h (handle, user_id) values (new.handle, new.id)
        on conflict (skeleton) do update
        set handle = excluded.handle, user_id = excluded.user_id, released_at = null
        where h.user_id = excluded.user_id or h.released_at < clock_timestamp() - c_reserved;
        if not found then
            raise unique_violation
            using message = 'the handle is taken', constraint = 'handles_taken';
        end if;
        if c_released < (
            select count(*) from auth.handles h
            where h.user_id = new.id and h.released_at > clock_timestamp() - c_reserved
        ) then
            raise check_violation
            using message = 'too many released handles', constraint = 'handles_released_often';
        end if;
    end if;
    -- For processes of the version before this one.
    new.name := new.handle;
    perform tickets.name_seller(new.id, new.handle);
    return new;
end
$$;

-- Claims a handle of two words and four digits that no account has or had. The insert waits for a
-- concurrent claim of the same handle, so no two accounts get it.
create function auth.generate_handle(p_user uuid) returns text
language plpgsql volatile
as $$
declare
    v_handle text;
begin
    for attempt in 1..20 loop
        select string_agg(w.word, '-' order by w.place) into v_handle from (
            select distinct on (place) place, word from auth.handle_words order by place, random()
        ) w;
        insert into auth.handles (handle, user_id)
        values (v_handle || '-' || 1000 + floor(random() * 9000)::int, p_user)
        on conflict (skeleton) do nothing
        returning handle into v_handle;
        if found then
            return v_handle;
        end if;
    end loop;
    raise exception 'no free handle was found';
end
$$;
