alter table payments.payments add column correlation_id uuid;
