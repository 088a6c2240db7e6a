"""Shows and the tickets listed for them. The one owner of a ticket's row."""
