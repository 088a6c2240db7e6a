-- When a show ends, and until when its tickets are sold. Without `ends_at`, a show is over when it
-- starts. Without `sales_end_at`, sales end at the start, also after the owner has moved it.
alter table tickets.shows add column ends_at timestamptz;
alter table tickets.shows add column sales_end_at timestamptz;

-- The list of shows reads from the earliest start of a show that may still run.
alter table tickets.shows add constraint shows_end_within_14_days_of_start
check (ends_at > starts_at and ends_at - starts_at <= interval '336 hours') not valid;
alter table tickets.shows add constraint shows_sales_end_by_end
check (sales_end_at <= coalesce(ends_at, starts_at)) not valid;
alter table tickets.shows add constraint shows_sales_end_after_creation
check (sales_end_at >= created_at) not valid;
