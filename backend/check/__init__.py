"""`gittix check`: the invariants of the house, looked at from outside: Postgres, Redis and the payment provider's ledger."""

from backend.check.evidence import CannotLook
from backend.check.finding import Finding
from backend.check.invariants import examine

__all__ = ["CannotLook", "Finding", "examine"]
