"""Accounts and sessions: sign up, in, out and everywhere; the one holder of the key that signs access tokens."""
