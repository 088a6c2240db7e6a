"""SQL that removes a guard: a negative control runs it in its own database before the processes
start.
"""

from tests.orders.test_race import NO_INDEX, UNGUARDED_HOLD
from tests.search.mutants import ANY_TRANSITION

# `orders.settle` and `finish` without a check: they trust the state that was read before the
# payment.
TRUSTING_SETTLE = """
    create or replace function orders.settle(
        p_order uuid, p_payment uuid, p_amount bigint, p_currency text,
        p_charged_to bigint[] default null
    ) returns text language sql volatile as $$ select 'won' $$
"""
TRUSTING_FINISH = """
    create or replace function orders.finish(p_order uuid, p_payment uuid) returns boolean
    language sql volatile as $$ select true $$
"""
# A seller may change a held ticket.
ALWAYS_FREE = """
    create or replace function tickets.is_free(p_status text, p_held_until timestamptz,
        p_now timestamptz)
    returns boolean language sql immutable parallel safe return true
"""
ALWAYS_AVAILABLE = """
    create or replace function tickets.effective_status(p_status text, p_held_until timestamptz,
        p_now timestamptz)
    returns text language sql immutable parallel safe return 'available'
"""
NO_PAYMENT_KEY = "drop index payments.payments_key"
MANY_ATTEMPTS = "drop index payments.payments_one_open_attempt"
MANY_CAPTURES = "drop index payments.payments_one_captured"
MANY_ACCOUNTS = "drop index auth.users_email_unique"

# Not a guard but a delay between an order's decision and its commit, so that others decide in
# between on any machine.
SLOW_ORDERS = """
    create function orders.dawdle() returns trigger language plpgsql
    as $$ begin perform pg_sleep(0.05); return null; end $$;
    create trigger dawdle after insert on orders.orders
        for each statement execute function orders.dawdle()
"""


def without(pattern: str, replacement: str) -> str:
    """Return SQL that replaces a POSIX pattern in the functions of orders, or fails."""
    return f"""
        do $do$
        declare
            f oid;
            found int := 0;
        begin
            for f in
                select p.oid from pg_proc p
                where p.pronamespace = 'orders'::regnamespace and p.prosrc ~ $re${pattern}$re$
            loop
                execute regexp_replace(pg_get_functiondef(f), $re${pattern}$re$,
                    $re${replacement}$re$, 'g');
                found := found + 1;
            end loop;
            if found = 0 then
                raise exception 'nothing matches';
            end if;
        end
        $do$
    """


NO_BUYER_LOCK = without(r"perform pg_advisory_xact_lock\([^;]*;", "null;")
NO_KEY_LOCK = without(
    r"if not pg_try_advisory_xact_lock\(\s*hashtextextended\('orders:[^;]* then", "if false then"
)

__all__ = [
    "ALWAYS_AVAILABLE",
    "ALWAYS_FREE",
    "ANY_TRANSITION",
    "MANY_ACCOUNTS",
    "MANY_ATTEMPTS",
    "MANY_CAPTURES",
    "NO_BUYER_LOCK",
    "NO_INDEX",
    "NO_KEY_LOCK",
    "NO_PAYMENT_KEY",
    "SLOW_ORDERS",
    "TRUSTING_FINISH",
    "TRUSTING_SETTLE",
    "UNGUARDED_HOLD",
]
