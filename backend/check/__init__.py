"""`gittix check`: the invariants of the house, looked at from outside: Postgres, Redis and the payment provider's ledger."""
