"""Orders, their lines and their state machine. Decides who wins a ticket."""
