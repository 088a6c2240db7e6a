-- The outbox: what committed here is published, what didn't never is. The relay gives each committed row its dense
-- position; `id` orders rows within what is visible, since a row's id is taken after its transaction's row locks.

create table events.outbox (
    id bigint generated always as identity primary key,
    event_id uuid not null default uuidv7(),
    position bigint,
    type text not null,
    schema smallint not null default 1,
    subject uuid not null,
    version bigint not null,
    occurred_at timestamptz not null default clock_timestamp(),
    correlation_id uuid,
    causation_id uuid,
    data jsonb not null
);
create index outbox_unnumbered on events.outbox (id) where position is null;
create unique index outbox_position on events.outbox (position) where position is not null;
create index outbox_occurred_at on events.outbox (occurred_at);

-- One row. `position` is the last that was given. `epoch` grows when Redis is ahead of this database, which then is a
-- restored one; what is past `epoch_start` is published under the new epoch.
create table events.relay (
    singleton boolean primary key default true check (singleton),
    epoch bigint not null default 1,
    epoch_start bigint not null default 0,
    position bigint not null default 0
);
insert into events.relay default values;

grant select, update on events.relay to gittix_relay;
grant select, delete on events.outbox to gittix_relay;
grant update (position) on events.outbox to gittix_relay;

-- For the functions of other schemas, which run as their owner: an event of the noun that owns the function, whoever
-- called it. Granted to nobody.
create function events.record(
    p_type text, p_subject uuid, p_version bigint, p_data jsonb, p_correlation uuid, p_causation uuid default null
) returns void
language sql volatile
as $$
    insert into events.outbox (type, subject, version, data, correlation_id, causation_id)
    values (p_type, p_subject, p_version, p_data, p_correlation, p_causation)
$$;

create function events.append(
    p_type text, p_subject uuid, p_version bigint, p_data jsonb, p_correlation uuid, p_causation uuid default null
) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    if not split_part(p_type, '.', 1) = any (
        case session_user
            when 'gittix_auth' then array['user']
            when 'gittix_tickets' then array['show', 'ticket']
            when 'gittix_orders' then array['order']
            when 'gittix_payments' then array['payment']
            else array[]::text[]
        end
    ) then
        raise insufficient_privilege using message = format('%s may not append %s', session_user, p_type);
    end if;
    insert into events.outbox (type, subject, version, data, correlation_id, causation_id)
    values (p_type, p_subject, p_version, p_data, p_correlation, p_causation);
end
$$;

grant usage on schema events to gittix_auth, gittix_tickets, gittix_orders, gittix_payments;
grant execute on function events.append to gittix_auth, gittix_tickets, gittix_orders, gittix_payments;
