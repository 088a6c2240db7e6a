-- Accounts, their sessions, and the refresh tokens that each session was given. No token and no password is stored,
-- only what it takes to recognise one.

create table auth.users (
    id uuid not null default uuidv7() constraint users_pkey primary key,
    email text not null constraint users_email_length check (length(email) between 3 and 254),
    name text not null constraint users_name_length check (length(name) between 1 and 80),
    password_hash text not null,
    version bigint not null default 1,
    created_at timestamptz not null default now()
);
create unique index users_email_unique on auth.users (lower(email));

create table auth.sessions (
    id uuid not null default uuidv7() constraint sessions_pkey primary key,
    user_id uuid not null constraint sessions_user_fkey references auth.users (id) on delete cascade,
    created_at timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    revoked_at timestamptz,
    user_agent text not null default '' constraint sessions_user_agent_length check (length(user_agent) <= 200)
);
create index sessions_live_of_user on auth.sessions (user_id) where revoked_at is null;
create index sessions_user on auth.sessions (user_id);
create index sessions_last_used_at on auth.sessions (last_used_at);

-- A used token is kept until it expires: only so can its reuse be told from nonsense.
create table auth.refresh_tokens (
    hash bytea not null constraint refresh_tokens_pkey primary key
        constraint refresh_tokens_hash_length check (length(hash) = 32),
    session_id uuid not null constraint refresh_tokens_session_fkey references auth.sessions (id) on delete cascade,
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    replaced_by bytea,
    constraint refresh_tokens_replaced_when_used check ((used_at is null) = (replaced_by is null))
);
create index refresh_tokens_session on auth.refresh_tokens (session_id);
create index refresh_tokens_expires_at on auth.refresh_tokens (expires_at);
