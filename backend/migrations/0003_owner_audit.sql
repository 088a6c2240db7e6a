-- One row for each change of an owner or a buyer, and for each deleted row, of the tables with the
-- trigger `audit_owner`. No statement of GitTix makes one. `before` and `after` have the ids and
-- the owners of the row; `after` is null when the row was deleted (decision 12). `gittix check`
-- reports each entry until an operator accepts it by a name in `accepted_by`.
create table events.owner_audit (
    id bigint generated always as identity primary key,
    relation text not null,
    before jsonb not null,
    after jsonb,
    at timestamptz not null default clock_timestamp(),
    role text not null default session_user,
    actor_id uuid,
    correlation_id uuid,
    accepted_by text
);
