"""One machine: Postgres, Redis, a Stripe sandbox and all of GitTix, under one supervisor."""
