-- The login of `gittix check`: it reads, and changes nothing. `functions/*/grants.sql` has its
-- rights on tables.
do $$
begin
    -- Roles belong to the cluster, so another database of the same cluster may have created it.
    if not exists (select from pg_roles where rolname = 'gittix_check') then
        create role gittix_check login;
    end if;
    execute format('grant connect on database %I to gittix_check', current_database());
end
$$;

grant usage on schema auth, tickets, orders, payments, push, events to gittix_check;
