-- squawk-ignore-file ban-drop-function
-- The trigger `record_update` does the work of both; only the triggers call the functions.
-- A new database has neither of them.
drop trigger if exists record_transitions on tickets.tickets;
drop trigger if exists count_changed on tickets.tickets;
drop function if exists tickets.record_transitions();
drop function if exists tickets.count_changes();
