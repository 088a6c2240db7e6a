-- Records a deleted row, or a change of its owner, in `events.owner_audit`. The trigger's arguments
-- name the columns that identify the row and its owners.
create or replace function events.audit_owner() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_before jsonb := (
        select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(old)) where key = any (tg_argv)
    );
    v_after jsonb;
begin
    if tg_op = 'UPDATE' then
        v_after := (
            select jsonb_object_agg(key, value) from jsonb_each(to_jsonb(new))
            where key = any (tg_argv)
        );
        if v_after = v_before then
            return null;
        end if;
    end if;
    insert into events.owner_audit (relation, before, after, actor_id, correlation_id)
    values (
        tg_table_schema || '.' || tg_table_name, v_before, v_after,
        nullif(current_setting('gittix.actor', true), '')::uuid,
        nullif(current_setting('gittix.correlation', true), '')::uuid
    );
    return null;
end
$$;
