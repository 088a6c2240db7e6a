-- The rights on the tables of payments, in full. A new table has none; a new column cannot be
-- written. No right covers the status of an inserted row, so each row starts in its first status.
alter default privileges in schema payments revoke all on tables from gittix_payments;
revoke all on all tables in schema payments from gittix_payments, gittix_check;

grant select on all tables in schema payments to gittix_payments, gittix_check;

grant insert (
    id, order_id, buyer_id, attempt, amount, currency, payment_method, intent_id, idempotency_key,
    fingerprint, deadline_at, correlation_id, charged_to
), update (
    status, intent_id, failure_code, decline_code, failure_message, captured_at, reconciled_at,
    idempotency_key, reply_status, reply_body, version, updated_at
)
on payments.payments to gittix_payments;

grant insert (
    id, order_id, payment_id, intent_id, number, requested_by, relist, amount, currency,
    idempotency_key, fingerprint
), update (
    status, stripe_id, failure_code, faults, reconciled_at, idempotency_key, reply_status,
    reply_body, version, updated_at
)
on payments.refunds to gittix_payments;

grant insert (refund_id, order_id, ticket_id, amount), update (live)
on payments.refund_lines to gittix_payments;

grant insert, update (tries, last_error, handled_at), delete
on payments.webhook_events to gittix_payments;
grant insert, delete on payments.inbox to gittix_payments;
