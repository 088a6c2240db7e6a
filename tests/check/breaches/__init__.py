"""The breaches that the check must detect, in one module for each module of `backend.check`."""
