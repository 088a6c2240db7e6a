-- squawk-ignore-file prefer-timestamp-tz
-- A time by the clocks at a venue has no offset.

-- The time of the start by the clocks at the venue. The trigger `set_local_start` keeps it. A row
-- that the version before this one inserts meanwhile has none until its show is changed.
alter table tickets.shows add column local_start timestamp without time zone;
update tickets.shows s set local_start = s.starts_at at time zone s.timezone
from pg_catalog.pg_timezone_names z where z.name = s.timezone;
