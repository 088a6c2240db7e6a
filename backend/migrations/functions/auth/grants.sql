-- The rights on the tables of auth, in full. A new table has none; a new column cannot be updated.
alter default privileges in schema auth revoke all on tables from gittix_auth;
revoke all on all tables in schema auth from gittix_auth, gittix_check;

grant select on all tables in schema auth to gittix_auth;

-- Neither emails nor digests of passwords and tokens.
grant select (id, created_at) on auth.users to gittix_check;
grant select (id, revoked_at) on auth.sessions to gittix_check;
grant select (session_id, issued_at) on auth.refresh_tokens to gittix_check;
grant select (session_id, ended_at) on auth.ended_sessions to gittix_check;

grant insert, update (password_hash, handle, needs_more_time, version) on auth.users to gittix_auth;
grant insert, update (last_used_at, revoked_at), delete on auth.sessions to gittix_auth;
grant insert, update (used_at, replaced_by), delete on auth.refresh_tokens to gittix_auth;
grant delete on auth.ended_sessions to gittix_auth;
