-- Whom this transaction acts for, and under which correlation id: said once, found by the triggers.
create function events.act_for(p_actor uuid, p_correlation uuid) returns void
language plpgsql volatile
as $$
declare
    v_said text;
begin
    v_said := set_config('gittix.actor', coalesce(p_actor::text, ''), true);
    v_said := set_config('gittix.correlation', coalesce(p_correlation::text, ''), true);
end
$$;

grant execute on function events.act_for to gittix_tickets;
