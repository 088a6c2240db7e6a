-- A show's counts tell when the first of its holds ends: the function returns one more column.
-- squawk-ignore-file ban-drop-function

-- Its definition is in `functions/`.
drop function tickets.availability(uuid);
