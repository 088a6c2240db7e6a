-- What goes on with a payment later (a webhook, the reconciler) belongs to the request that began it.
alter table payments.payments add column correlation_id uuid;
