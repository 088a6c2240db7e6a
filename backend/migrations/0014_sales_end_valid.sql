alter table tickets.shows validate constraint shows_end_within_14_days_of_start;
alter table tickets.shows validate constraint shows_sales_end_by_end;
alter table tickets.shows validate constraint shows_sales_end_after_creation;
