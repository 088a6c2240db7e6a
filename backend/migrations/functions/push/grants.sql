-- The rights on the tables of push, in full. A new table has none; a new column cannot be updated.
alter default privileges in schema push revoke all on tables from gittix_push;
revoke all on all tables in schema push from gittix_push, gittix_check;

grant select on all tables in schema push to gittix_push, gittix_check;

grant update (position, appended, updated_at) on push.notifier to gittix_push;
