-- The words of shows: in lower case, without accents, joiners and punctuation. Vowel signs of other
-- scripts are no accents, so they stay. A letter that has no base letter becomes a similar one.
create function tickets.plain_text(p_text text) returns text
language sql immutable parallel safe
return regexp_replace(
    translate(
        regexp_replace(
            normalize(lower(p_text collate pg_c_utf8), nfkd),
            '[\u0300-\u036f\u200c\u200d\ufe00-\ufe0f]+', '', 'g'
        ),
        'øłđðıæœþß', 'olddiaots'
    ),
    '[\u0001-/:-@\[-`{-\u00bf\u00d7\u00f7\u2000-\u206f\u2e00-\u3020]+', ' ', 'g'
);

-- The words between spaces, each as its parts between punctuation: {{will,i,am},{mix}} has two.
-- A word that is longer than a lexeme may be is cut.
create function tickets.words(p_text text) returns table (word bigint, parts text[])
language sql immutable parallel safe
begin atomic
    select t.word, array(
        select left(p.part, 60)
        from regexp_split_to_table(tickets.plain_text(t.token), ' +') with ordinality p (part, n)
        where p.part <> ''
        order by p.n
    )
    from regexp_split_to_table(p_text, '\s+') with ordinality t (token, word);
end;

-- The lexemes of a show: each part, and the joined parts of a word with punctuation (acdc of
-- AC/DC).
create function tickets.lexemes(p_text text) returns text[]
language plpgsql immutable parallel safe
as $$
begin
    return array(
        select left(p.part, 60)
        from regexp_split_to_table(tickets.plain_text(p_text), '\s+') p (part)
        where p.part <> ''
        union
        select left(regexp_replace(tickets.plain_text(t.token), '\s+', '', 'g'), 60)
        from regexp_split_to_table(p_text, '\s+') t (token)
        where tickets.plain_text(t.token) ~ '\S\s+\S'
    );
end
$$;

-- Words and their spellings: a word of four letters or more, and the word without each of its
-- letters. Two words of which one letter differs, is missing or is exchanged with the next one have
-- a spelling in common.
create function tickets.with_spellings(p_words text[]) returns text[]
language plpgsql immutable parallel safe
as $$
begin
    return p_words || array(
        select distinct '~' || overlay(w.word placing '' from greatest(n, 1) for least(n, 1))
        from unnest(p_words) w (word), generate_series(0, length(w.word)) n
        where length(w.word) between 4 and 30
    );
end
$$;

-- A city as `shows.city_key` has it.
create function tickets.city_key(p_city text) returns text
language sql immutable parallel safe
return btrim(tickets.plain_text(p_city));

-- The query for rows with each of the first eight words of a text: a row has a word if it has one
-- that begins so. `p_loose`: or one of which a letter differs. Words have no quotes or backslashes.
create function tickets.search_query(p_text text, p_loose boolean) returns tsquery
language sql immutable parallel safe
begin atomic
    select coalesce(string_agg('(' || q.parts || q.joined || ')', ' & '), '')::tsquery
    from (
        select (
            select string_agg(
                case
                    when p_loose and length(p.part) between 4 and 30 then
                        '(' || quote_literal(p.part) || ':*' || (
                            select string_agg(' | ' || quote_literal(s.spelling), '')
                            from unnest((tickets.with_spellings(array[p.part]))[2:]) s (spelling)
                        ) || ')'
                    else quote_literal(p.part) || ':*'
                end,
                ' & '
            )
            from unnest(w.parts) p (part)
        ) as parts,
        case
            when cardinality(w.parts) > 1
                then ' | ' || quote_literal(left(array_to_string(w.parts, ''), 60)) || ':*'
            else ''
        end as joined
        from tickets.words(p_text) w
        where cardinality(w.parts) > 0
        order by w.word limit 8
    ) q;
end;

grant execute on function
tickets.plain_text, tickets.words, tickets.lexemes, tickets.with_spellings, tickets.city_key,
tickets.search_query
to gittix_tickets;

create or replace function tickets.set_search() returns trigger
language plpgsql
as $$
declare
    v_words text[] := tickets.lexemes(new.title || ' ' || new.venue || ' ' || new.city);
begin
    new.search := array_to_tsvector(v_words);
    new.spellings := array_to_tsvector(tickets.with_spellings(v_words));
    new.city_key := tickets.city_key(new.city);
    return new;
end
$$;

-- The rows that no trigger has seen. A migration that empties `city_key` makes the words again.
update tickets.shows s
set search = array_to_tsvector(w.words),
    spellings = array_to_tsvector(tickets.with_spellings(w.words)),
    city_key = tickets.city_key(s.city)
from (
    select e.id, tickets.lexemes(e.title || ' ' || e.venue || ' ' || e.city) as words
    from tickets.shows e where e.city_key = ''
) w
where w.id = s.id;
