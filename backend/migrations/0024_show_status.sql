-- squawk-ignore-file require-concurrent-index-creation
-- What the owner has decided about a show; whether it is over follows from its times.
alter table tickets.shows add column status text not null default 'on_sale';
alter table tickets.shows add constraint shows_status_known check (
    status in ('on_sale', 'postponed', 'cancelled')
) not valid;
-- When every ticket of a cancelled show is withdrawn and its money is returned.
alter table tickets.shows add column wound_up_at timestamptz;
-- Empty while it is built, since no show is cancelled yet.
create index shows_to_wind_up on tickets.shows (id) where status = 'cancelled'
and wound_up_at is null;

-- A refund of the line failed at this time; that of a cancelled show waits before another one.
alter table orders.lines add column refund_failed_at timestamptz;
