"""Every way to break an invariant that the check claims to see: a module for each module of `backend.check`."""
