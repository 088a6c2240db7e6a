"""Accounts and sessions. Only this service holds the private key that signs access tokens."""
