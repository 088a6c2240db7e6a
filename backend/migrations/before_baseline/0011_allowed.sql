-- A database that ran 0008 as it first landed has these constraints.
-- squawk-ignore-file ban-drop-constraint
alter table tickets.audit drop constraint if exists audit_transition_allowed;
alter table orders.audit drop constraint if exists audit_transition_allowed;
