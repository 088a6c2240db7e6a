-- How far the notifier has told the event log to connected clients. One row.

create table push.notifier (
    singleton boolean primary key default true check (singleton),
    position bigint not null default 0,
    epoch bigint not null default 0,
    appended bigint not null default 0,
    updated_at timestamptz not null default now()
);
insert into push.notifier default values;
