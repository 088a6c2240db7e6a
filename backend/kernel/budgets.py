"""The hourly budgets of a caller: of the account, and of the networks that its address is in.

`migrations/functions/orders/budgets.sql` keeps what is used of each. One account cannot avoid its
own budget by more addresses, and many accounts of one address share that of the address.
"""

import math
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg

from backend.kernel.client_address import networks_of

# The /48 of an IPv6 address may be a site with many users, or one customer of a hoster with 65,536
# networks to choose from.
SITE_FACTOR = 4

Kind = Literal["unpaid", "declines"]
Owner = Literal["account", "network"]


class Budgets(NamedTuple):
    """`hourly[n]` is the size of the budget of `subjects[n]`, which it gains in an hour."""

    subjects: list[str]
    hourly: list[int]


UNLIMITED = Budgets([], [])


def budgets_of(
    kind: Kind, user_id: UUID, address: str, *, of_account: int, of_address: int
) -> Budgets:
    """The budgets of this kind, by amounts an hour. An unknown address has no budget of its own."""
    amounts: dict[str, int] = {f"{kind} account {user_id}": of_account}
    for network, factor in zip(networks_of(address), (1, SITE_FACTOR), strict=False):
        amounts[f"{kind} network {network}"] = of_address * factor
    return Budgets(list(amounts), list(amounts.values()))


class BudgetSpent(asyncpg.PostgresError):
    """`orders.charge` found too little in a budget, after an earlier read had found enough."""

    sqlstate = "GT005"


class Spent(NamedTuple):
    """A budget that lacks the amount until `retry_at`. `owner`: the account, or its network."""

    owner: Owner
    retry_at: datetime
    wait_seconds: int

    @classmethod
    def at(cls, subject: str, retry_at: datetime, now: datetime) -> "Spent":
        wait = math.ceil((retry_at - now).total_seconds())
        return cls(_owner_of(subject), retry_at, max(1, wait))

    @classmethod
    def of(cls, error: BudgetSpent) -> "Spent":
        wait, retry_at, subject = str(error.detail).split(" ", 2)
        return cls(_owner_of(subject), datetime.fromisoformat(retry_at), max(1, int(wait)))


def _owner_of(subject: str) -> Owner:
    return "account" if subject.split()[1] == "account" else "network"
