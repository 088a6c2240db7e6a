-- Names that the baseline has and 0016 had not.
-- squawk-ignore-file renaming-column, renaming-object
alter table payments.payments rename column looked_at to reconciled_at;
alter table payments.refunds rename column looked_at to reconciled_at;
alter table payments.payments
rename constraint payments_looked_at_not_null to payments_reconciled_at_not_null;
alter table payments.refunds
rename constraint refunds_looked_at_not_null to refunds_reconciled_at_not_null;
