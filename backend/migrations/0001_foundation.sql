-- A schema and a login role for each service. A role reaches its own schema; beyond it, only the functions that a
-- later migration grants by name. Passwords are set by `gittix migrate` from the services' URLs.

create schema auth;
create schema tickets;
create schema orders;
create schema payments;
create schema push;
create schema events;

do $$
declare
    noun text;
begin
    foreach noun in array array['auth', 'tickets', 'orders', 'payments', 'push', 'relay'] loop
        if not exists (select from pg_roles where rolname = 'gittix_' || noun) then
            execute format('create role %I login', 'gittix_' || noun);
        end if;
        execute format('grant connect on database %I to %I', current_database(), 'gittix_' || noun);
    end loop;
    execute format('revoke all on database %I from public', current_database());
end
$$;

revoke all on schema public from public;
-- Functions made from here on are nobody's until they are granted.
alter default privileges revoke execute on functions from public;

grant usage on schema auth to gittix_auth;
grant usage on schema tickets to gittix_tickets;
grant usage on schema orders to gittix_orders;
grant usage on schema payments to gittix_payments;
grant usage on schema push to gittix_push;
grant usage on schema events to gittix_relay;

alter default privileges in schema auth grant select, insert, update, delete on tables to gittix_auth;
alter default privileges in schema tickets grant select, insert, update, delete on tables to gittix_tickets;
alter default privileges in schema orders grant select, insert, update, delete on tables to gittix_orders;
alter default privileges in schema payments grant select, insert, update, delete on tables to gittix_payments;
alter default privileges in schema push grant select, insert, update, delete on tables to gittix_push;

-- Replies kept under an Idempotency-Key, and the events that a consumer has handled.
do $$
declare
    noun text;
begin
    foreach noun in array array['auth', 'tickets', 'orders', 'payments'] loop
        execute format(
            'create table %I.idempotency_keys (
                user_id uuid not null,
                key text not null,
                fingerprint bytea not null,
                status int not null,
                headers jsonb not null,
                body bytea not null,
                created_at timestamptz not null default now(),
                primary key (user_id, key)
            )', noun);
        execute format('create index on %I.idempotency_keys (created_at)', noun);
        execute format(
            'create table %I.inbox (
                consumer text not null,
                event_id uuid not null,
                handled_at timestamptz not null default now(),
                primary key (consumer, event_id)
            )', noun);
        execute format('create index on %I.inbox (handled_at)', noun);
    end loop;
end
$$;
