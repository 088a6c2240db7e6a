alter table tickets.shows validate constraint shows_status_known;
