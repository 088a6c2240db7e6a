"""Shows and the tickets listed for them. The only service that owns ticket rows."""
