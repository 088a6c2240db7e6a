-- Raise check_violation for a transition that the table does not allow.
create function events.refuse_transition(p_table text, p_from text, p_to text) returns text
language plpgsql immutable
as $$
begin
    raise exception using
        errcode = 'check_violation', constraint = 'transition_allowed',
        message = format('%s: %s may not follow %s', p_table, p_to, p_from);
end
$$;
