"""The rights of each role: on columns, on functions and on schemas.

`functions/*/grants.sql` grants them, `gittix check` reports every other right that a role has, and
`tests/test_grants.py` compares the whole catalogue with them. Names of roles lack the prefix
`gittix_`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

SCHEMAS = ("auth", "tickets", "orders", "payments", "push", "events")

# The schemas of which a role reads every table.
READS: Mapping[str, tuple[str, ...]] = {
    "auth": ("auth",),
    "tickets": ("tickets",),
    "orders": ("orders",),
    "payments": ("payments",),
    "push": ("push",),
    "check": ("tickets", "orders", "payments", "push", "events"),
}

ALL = "*"
_KEY_COLUMNS = "fingerprint status headers body created_at"
# All other rights on tables: for each role and table, the privileges and their columns.
RIGHTS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "auth": {
        "auth.users": {
            "INSERT": ALL,
            "UPDATE": "password_hash handle needs_more_time version",
        },
        "auth.sessions": {"INSERT": ALL, "UPDATE": "last_used_at revoked_at", "DELETE": ALL},
        "auth.refresh_tokens": {"INSERT": ALL, "UPDATE": "used_at replaced_by", "DELETE": ALL},
        "auth.ended_sessions": {"DELETE": ALL},
    },
    "tickets": {
        "tickets.shows": {
            "INSERT": ALL,
            "UPDATE": (
                "title venue city starts_at ends_at sales_end_at timezone category listing_policy"
                " status version updated_at"
            ),
        },
        "tickets.sellers": {"INSERT": ALL},
        "tickets.tickets": {
            "INSERT": (
                "id show_id seller_id seller_name title section row seat price face_value currency"
            ),
            "UPDATE": "title section row seat price face_value currency hidden version updated_at",
        },
        "tickets.idempotency_keys": {"INSERT": ALL, "UPDATE": _KEY_COLUMNS, "DELETE": ALL},
    },
    "orders": {
        "orders.idempotency_keys": {"INSERT": ALL, "UPDATE": _KEY_COLUMNS, "DELETE": ALL},
        "orders.inbox": {"INSERT": ALL, "DELETE": ALL},
    },
    "payments": {
        "payments.payments": {
            "INSERT": (
                "id order_id buyer_id attempt amount currency payment_method intent_id"
                " idempotency_key fingerprint deadline_at correlation_id charged_to"
            ),
            "UPDATE": (
                "status intent_id failure_code decline_code failure_message captured_at"
                " reconciled_at idempotency_key reply_status reply_body version updated_at"
            ),
        },
        "payments.refunds": {
            "INSERT": (
                "id order_id payment_id intent_id number requested_by relist amount currency"
                " idempotency_key fingerprint"
            ),
            "UPDATE": (
                "status stripe_id failure_code faults reconciled_at idempotency_key reply_status"
                " reply_body version updated_at"
            ),
        },
        "payments.refund_lines": {
            "INSERT": "refund_id order_id ticket_id amount",
            "UPDATE": "live",
        },
        "payments.webhook_events": {
            "INSERT": ALL,
            "UPDATE": "tries last_error handled_at",
            "DELETE": ALL,
        },
        "payments.inbox": {"INSERT": ALL, "DELETE": ALL},
    },
    "push": {"push.notifier": {"UPDATE": "position appended updated_at"}},
    "relay": {
        "events.relay": {"SELECT": ALL, "UPDATE": "epoch epoch_start position"},
        "events.outbox": {"SELECT": ALL, "UPDATE": "position", "DELETE": ALL},
    },
    "check": {
        "auth.users": {"SELECT": "id created_at"},
        "auth.sessions": {"SELECT": "id revoked_at"},
        "auth.refresh_tokens": {"SELECT": "session_id issued_at"},
        "auth.ended_sessions": {"SELECT": "session_id ended_at"},
    },
}

# The functions of docs/design.md, "Callable functions".
CALLS: Mapping[str, frozenset[str]] = {
    "auth": frozenset({"auth.ended_since", "events.append", "events.bind_correlation"}),
    "tickets": frozenset({"auth.ended_since", "events.append", "events.bind_correlation"}),
    "orders": frozenset(
        {
            "auth.ended_since",
            "events.append",
            "events.bind_correlation",
            "tickets.hold",
            "tickets.release",
            "tickets.extend",
            "tickets.reserve",
            "tickets.sell",
            "tickets.release_due",
        }
    ),
    "payments": frozenset(
        {
            "auth.ended_since",
            "events.append",
            "events.bind_correlation",
            "orders.begin_payment",
            "orders.uncount_attempt",
            "orders.settle",
            "orders.finish",
            "orders.fail",
            "orders.begin_refund",
            "orders.lines_of_refund",
            "orders.lines_to_return",
            "orders.finish_refund",
            "orders.fail_refund",
            "orders.read",
            "orders.changed_shows",
        }
    ),
    "check": frozenset(
        {
            "tickets.effective_status",
            "tickets.is_free",
            "tickets.availability",
            "tickets.lowest_price",
        }
    ),
    "push": frozenset({"auth.ended_since"}),
}
# The functions that a role calls in its own schema.
OWN_CALLS: Mapping[str, frozenset[str]] = {
    "tickets": frozenset(
        {
            "tickets.effective_status",
            "tickets.check_listing",
            "tickets.fold_counts",
            "tickets.handle_of",
            "tickets.shows_of",
            "tickets.plain_text",
            "tickets.words",
            "tickets.lexemes",
            "tickets.with_spellings",
            "tickets.city_key",
            "tickets.sections",
            "tickets.section_totals",
            "tickets.next_sections",
            "tickets.search_query",
            "tickets.is_free",
            "tickets.is_over",
            "tickets.is_selling",
            "tickets.state",
            "tickets.availability",
            "tickets.lowest_price",
            "tickets.withdraw",
            "tickets.withdraw_all",
            "tickets.set_prices",
            "tickets.price_cap_of",
            "tickets.withdraw_cancelled",
        }
    ),
    "orders": frozenset(
        {
            "orders.show",
            "orders.line",
            "orders.changed_shows",
            "orders.returnable",
            "orders.tickets_of",
            "orders.state",
            "orders.id_at",
            "orders.close",
            "orders.place",
            "orders.cancel",
            "orders.effective_status",
            "orders.extend",
            "orders.due",
            "orders.expire",
            "orders.expire_due",
            "orders.expire_batches",
            "orders.purge_budgets",
        }
    ),
}
# The schemas whose names a role resolves.
USES: Mapping[str, frozenset[str]] = {
    "auth": frozenset({"auth", "events"}),
    "tickets": frozenset({"tickets", "auth", "events"}),
    "orders": frozenset({"orders", "auth", "tickets", "events"}),
    "payments": frozenset({"payments", "auth", "orders", "events"}),
    "push": frozenset({"push", "auth"}),
    "relay": frozenset({"events"}),
    "check": frozenset(SCHEMAS),
}


class Right(NamedTuple):
    """A privilege on one column, or on all columns (`ALL`)."""

    role: str
    table: str
    privilege: str
    column: str


def rights() -> Iterator[Right]:
    """The rights of `RIGHTS`, one for each column."""
    for role, tables in RIGHTS.items():
        for table, privileges in tables.items():
            for privilege, columns in privileges.items():
                for column in columns.split():
                    yield Right(role, table, privilege, column)


def calls() -> Iterator[tuple[str, str]]:
    """Each role with each function that it may call."""
    for granted in (CALLS, OWN_CALLS):
        for role, functions in granted.items():
            yield from ((role, function) for function in functions)
