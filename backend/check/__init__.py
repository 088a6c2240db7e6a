"""`gittix check`: verifies the invariants on Postgres, Redis and the payment ledger."""

from backend.check.invariants import check_invariants
from backend.check.result import Result
from backend.check.snapshot import CheckError

__all__ = ["CheckError", "Result", "check_invariants"]
