"""The errors of our SQL functions that reach Python, by SQLSTATE.

`migrations/functions/orders/errors.sql` has the table. asyncpg raises the class that has the
SQLSTATE of an error.

    asyncpg.PostgresError
    ├── TooManyTicketsOfShow    GT002
    ├── BudgetSpent             GT005  (`kernel/budgets.py`, since payments raise it too)
    ├── TotalTooSmall           GT006
    ├── TotalTooLarge           GT007
    └── asyncpg.LockNotAvailableError
        ├── BuyerBusy           GT003
        └── DisplacedBusy       GT004
"""

import asyncpg


class TooManyTicketsOfShow(asyncpg.PostgresError):
    """With this order, the buyer has too many tickets of a show."""

    sqlstate = "GT002"


class BuyerBusy(asyncpg.LockNotAvailableError):
    """The buyer's lock stayed taken; the caller may try again."""

    sqlstate = "GT003"


class DisplacedBusy(asyncpg.LockNotAvailableError):
    """The order of an expired hold stayed locked; the caller may try again."""

    sqlstate = "GT004"


class TotalTooSmall(asyncpg.PostgresError):
    """Stripe does not charge so little in the order's currency, which is the detail."""

    sqlstate = "GT006"


class TotalTooLarge(asyncpg.PostgresError):
    """Stripe does not charge so much in the order's currency, which is the detail."""

    sqlstate = "GT007"
