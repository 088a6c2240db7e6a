"""Versions of SQL functions without one guard: mutants that a search must find."""

# Takes the tickets without checking that they are free.
UNGUARDED_HOLD = """
    create or replace function tickets.hold(
        p_order uuid, p_buyer uuid, p_tickets uuid[], p_until timestamptz, p_displaced uuid[],
        p_beside uuid[],
        out outcome text, out refused uuid, out refused_until timestamptz, out displaced uuid[],
        out held tickets.tickets[]
    )
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    begin
        with taken as (
            update tickets.tickets t
            set status = 'held', order_id = p_order, held_until = p_until, version = t.version + 1
            where t.id = any (p_tickets) returning t as ticket
        ), appended as (
            insert into events.outbox (type, subject, version, data, correlation_id)
            select 'ticket.held', (ticket).id, (ticket).version, tickets.state(ticket),
                events.correlation_id() from taken
        )
        select array_agg(taken.ticket) into held from taken;
        outcome := 'held';
    end
    $$
"""

# Checks first and takes then, which is wrong when another transaction comes between.
CHECK_THEN_WRITE_HOLD = UNGUARDED_HOLD.replace(
    "    begin\n",
    """    begin
        if exists (
            select from tickets.tickets t
            where t.id = any (p_tickets)
                and not tickets.is_free(t.status, t.held_until, clock_timestamp())
        ) then
            outcome := 'ticket_unavailable';
            return;
        end if;
        select array_agg(distinct t.order_id) into displaced from tickets.tickets t
        where t.id = any (p_tickets) and t.order_id is not null;
""",
    1,
)

# Releases the tickets on the order's lines, whichever order holds them now.
RELEASE_BY_LINES = """
    create or replace function tickets.release(
        p_order uuid, p_tickets uuid[], p_from text[] default array['held']
    ) returns int
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    declare
        v_released int;
    begin
        with freed as (
            update tickets.tickets t
            set status = 'available', order_id = null, held_until = null, version = t.version + 1
            where t.id = any (p_tickets) and t.status = any (p_from)
            returning t as ticket
        ), appended as (
            insert into events.outbox (type, subject, version, data, correlation_id)
            select 'ticket.released', (ticket).id, (ticket).version, tickets.state(ticket),
                events.correlation_id() from freed
        )
        select count(*) into v_released from freed;
        return v_released;
    end
    $$
"""

# Takes the tickets of a late payment without checking their order or their present price.
RESERVE_AT_ANY_PRICE = """
    create or replace function tickets.reserve(
        p_order uuid, p_tickets uuid[], p_prices bigint[], p_currency text
    ) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    begin
        with reserved as (
            update tickets.tickets t
            set status = 'reserved', order_id = p_order, held_until = null, version = t.version + 1
            where t.id = any (p_tickets) and t.status in ('available', 'held') returning t as ticket
        )
        insert into events.outbox (type, subject, version, data, correlation_id)
        select 'ticket.reserved', (ticket).id, (ticket).version, tickets.state(ticket),
            events.correlation_id() from reserved;
        return true;
    end
    $$
"""

# Ends every hold, overdue or not.
EXPIRE_EVERYTHING = """
    create or replace function tickets.release_due(
        p_orders uuid[], p_tickets uuid[], out released uuid[], out bare uuid[]
    )
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    declare
        v_order uuid;
    begin
        released := array(
            select distinct t.order_id from tickets.tickets t where t.status = 'held'
        );
        foreach v_order in array released loop
            perform tickets.release(v_order, orders.tickets_of(v_order));
        end loop;
    end
    $$
"""

# Checks which refund the lines name, but not that they still wait for it.
FINISH_REFUND_AGAIN = """
    create or replace function orders.finish_refund(
        p_order uuid, p_refund uuid, p_relist boolean, p_capped boolean default false
    ) returns boolean
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    declare
        v_order orders.orders;
    begin
        update orders.lines l set status = 'refunded', live = false
        where l.order_id = p_order and l.refund_id = p_refund;
        if not found then
            return false;
        end if;
        perform tickets.unsell(p_order, orders.tickets_of(p_order), p_relist);
        v_order := orders.follow_lines(p_order);
        insert into events.outbox (type, subject, version, data, correlation_id)
        values ('order.refunded', v_order.id, v_order.version, orders.state(v_order),
            events.correlation_id());
        return true;
    end
    $$
"""

# Withdraws or relists the tickets on the order's lines, whichever order has them now.
UNSELL_BY_LINES = """
    create or replace function tickets.unsell(
        p_order uuid, p_tickets uuid[], p_relist boolean
    ) returns int
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp
    as $$
    declare
        v_unsold int;
    begin
        with unsold as (
            update tickets.tickets t
            set status = case when p_relist then 'available' else 'withdrawn' end,
                claims_seat = p_relist, order_id = null, held_until = null,
                version = t.version + 1
            where t.id = any (p_tickets)
            returning t as ticket
        ), appended as (
            insert into events.outbox (type, subject, version, data, correlation_id)
            select case when p_relist then 'ticket.released' else 'ticket.withdrawn' end,
                (ticket).id, (ticket).version,
                   tickets.state(ticket, '', p_order, true), events.correlation_id()
            from unsold
        )
        select count(*) into v_unsold from unsold;
        return v_unsold;
    end
    $$
"""

# Switches off the table of transitions, which refuses a wrong change behind each other guard.
ANY_TRANSITION = """
    create or replace function events.refuse_transition(p_table text, p_from text, p_to text)
    returns text
    language sql immutable as $$ select p_to $$
"""
NO_INDEX = "drop index orders.lines_one_live_per_ticket"
