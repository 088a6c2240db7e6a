-- The rights on the tables of events, in full. Only `events.append` and the functions of the
-- services insert events.
revoke all on all tables in schema events from gittix_relay, gittix_check;

grant select on all tables in schema events to gittix_check;

grant select, update (epoch, epoch_start, position) on events.relay to gittix_relay;
grant select, update (position), delete on events.outbox to gittix_relay;
