-- squawk-ignore-file adding-not-nullable-field
-- Every account gets its handle before another transaction may write to auth.users, so the table
-- is locked until the end in any case.

-- Every handle that an account has or had, and the words that no account may have: these have no
-- user. The triggers on auth.users write the rows (functions/auth/handles.sql).
create table auth.handles (
    -- Handles that look alike are one: separators do not count, `0` is `o`, `1` and `i` are `l`.
    skeleton text not null generated always as (translate(handle, '01i._-', 'oll')) stored
    constraint handles_pkey primary key,
    handle text not null constraint handles_format check (
        length(handle) between 3 and 24 and handle ~ '^[a-z0-9]+([._-][a-z0-9]+)*$'
    ),
    user_id uuid,
    -- Null for a present handle. A former one stays reserved for its user until this is long ago.
    released_at timestamptz
);
create unique index handles_present on auth.handles (user_id) where released_at is null;
create index handles_user on auth.handles (user_id);

insert into auth.handles (handle)
select unnest(string_to_array(
    'about account admin administrator api billing buyer contact everyone gittix help legal mail '
    'moderator nobody null official operator owner payment postmaster privacy refund root '
    'security seller shop staff stripe support system team terms undefined unknown webmaster www',
    ' '
));

-- The words of generated handles, such as `quiet-otter-4821`.
create table auth.handle_words (
    place int not null constraint handle_words_place_known check (place in (1, 2)),
    number int not null,
    word text not null,
    constraint handle_words_pkey primary key (place, number)
);
insert into auth.handle_words (place, number, word)
select place, word.number - 1, word.word
from (values
    (1, 'amber autumn bold brave bright calm clever coral cosmic crisp dapper daring dawn eager '
        'early easy fabled fair fancy fleet fond frosty gentle glad golden grand happy hazel '
        'honest humble jolly keen kind lively lucky lunar mellow merry mild misty modest neat '
        'noble olive patient plucky polite proud quiet rapid ready royal ruby rustic silver snowy '
        'solar spry steady sunny swift tidy velvet warm'),
    (2, 'acorn alder badger beacon beaver birch bison breeze brook canyon cedar cello comet condor '
        'crane cricket dolphin falcon fern fjord fox garnet gecko glade harbor hare hawk heron '
        'ibex island jaguar juniper kestrel lagoon lark lemur lotus lynx maple marten meadow moose '
        'oak orchid osprey otter owl panda pebble pine plover puffin quail raven reef robin salmon '
        'spruce swan thrush tulip walrus willow wren')
) as list (place, words), regexp_split_to_table(words, ' ') with ordinality as word (word, number);

-- Account n gets combination (n · 32459981) mod 36864000. No two accounts get the same one, since
-- the factor and the number of combinations (64 · 64 · 9000) have no common divisor. The order by
-- digests is independent of the accounts' age. A seller whose account was deleted gets one too.
create temporary table given_handles on commit drop as
select numbered.id,
    (select word from auth.handle_words where place = 1 and number = numbered.mixed % 64) || '-'
    || (select word from auth.handle_words where place = 2 and number = numbered.mixed / 64 % 64)
    || '-' || 1000 + numbered.mixed / 4096 % 9000 as handle
from (
    select ids.id,
        (row_number() over (order by md5(ids.id::text)) * 32459981) % 36864000 as mixed
    from (select id from auth.users union select seller_id from tickets.tickets) as ids (id)
) as numbered;
insert into auth.handles (handle, user_id) select handle, id from given_handles;

-- `name` has the handle from now on, for processes of the version before this one only.
alter table auth.users add column handle text;
update auth.users u set handle = g.handle, name = g.handle from given_handles g where g.id = u.id;
alter table auth.users alter column handle set not null;

-- The handles of all accounts, as tickets show them. Only auth's triggers change a row.
create table tickets.sellers (
    id uuid not null constraint sellers_pkey primary key,
    handle text not null
);
insert into tickets.sellers (id, handle) select id, handle from given_handles;
