"""Demo data: invented shows, venues, sellers and buyers; and bulk data for load tests."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from rich.progress import track

from backend.auth import service as users
from backend.auth.model import User
from backend.auth.passwords import Passwords
from backend.kernel import correlation, database
from backend.kernel.database import Connection
from backend.kernel.principal import Principal
from backend.kernel.settings import Settings
from backend.tickets import service as tickets
from backend.tickets.model import NewShow, TicketSpec

PASSWORD = "try-gittix-now"  # noqa: S105 - printed on screen, for demo data only
BATCH = 500
# A show of tonight lasts so long, and sells tickets until an hour before its end: so it can be
# bought whenever the demo is loaded on its day.
NIGHT = timedelta(hours=6)
LAST_SALE = timedelta(hours=1)
# A show of the weekend starts this long after the demo is loaded, or later.
NOTICE = timedelta(hours=2)
SATURDAY, SUNDAY = 5, 6


class Account(NamedTuple):
    role: str
    email: str
    handle: str | None


class Show(NamedTuple):
    """`day` is a number of days from today, tonight, or a day of this weekend. `seats` are
    (section, rows, seats a row, price in minor units).
    """

    title: str
    venue: str
    city: str
    timezone: str
    category: str
    day: int | Literal["tonight", "saturday", "sunday"]
    hour: int
    currency: str
    seats: Sequence[tuple[str, str, int, int]]


ACCOUNTS = (
    Account("Seller", "mira@gittix.example", "seafront"),
    Account("Seller", "joost@gittix.example", "rowa-regular"),
    Account("Buyer", "ana@gittix.example", "front-row-fan"),
    Account("Buyer", "ben@gittix.example", "night-tram"),
)

SHOWS = (
    Show("Harbour Lights — Live", "Harbour Hall", "Rotterdam", "Europe/Amsterdam",
         "concert", 6, 20, "EUR",
         (("Balcony", "ABC", 8, 5200), ("Floor", "", 12, 3800))),
    Show("Low Tide Club Night", "Quay 12", "Rotterdam", "Europe/Amsterdam",
         "club", "tonight", 22, "EUR",
         (("Entry", "", 40, 1800), ("Balcony", "A", 8, 2900))),
    Show("The Paper Fox", "Dune Theatre", "The Hague", "Europe/Amsterdam",
         "family", "saturday", 15, "EUR",
         (("Stalls", "ABC", 10, 1650), ("Circle", "A", 8, 2150))),
    Show("Sunday Quartets", "Canal Concert House", "Amsterdam", "Europe/Amsterdam",
         "classical", "sunday", 16, "EUR",
         (("Stalls", "ABC", 8, 2400),)),
    Show("The City Derby", "Riverside Stadium", "London", "Europe/London",
         "sport", 9, 14, "GBP",
         (("North Stand", "KLM", 10, 8500), ("East Stand", "PQ", 8, 6400))),
    Show("Glasshouse Sessions", "The Old Mill", "Utrecht", "Europe/Amsterdam",
         "concert", 13, 20, "EUR",
         (("Seated", "ABCD", 8, 4400),)),
    Show("Night Piano", "Canal Concert House", "Amsterdam", "Europe/Amsterdam",
         "classical", 18, 20, "EUR",
         (("Stalls", "DEF", 8, 3600), ("Circle", "A", 10, 5400))),
    Show("Northern Brass Night", "Warehouse 9", "Copenhagen", "Europe/Copenhagen",
         "concert", 24, 21, "DKK",
         (("Standing", "", 24, 27500),)),
    Show("Winter Dance Gala", "Dune Theatre", "The Hague", "Europe/Amsterdam",
         "dance", 31, 20, "EUR",
         (("Parterre", "GHJ", 10, 3100), ("Box", "1", 4, 7800))),
    Show("Paper Lanterns", "Sumida Garden Hall", "Tokyo", "Asia/Tokyo",
         "theatre", 38, 19, "JPY",
         (("Arena", "ABC", 8, 9800),)),
    Show("Late Train Comedy", "The Cellar Room", "New York", "America/New_York",
         "comedy", 44, 21, "USD",
         (("Tables", "ABCD", 6, 4500),)),
    Show("Open Fields Festival", "Meadow Park", "Berlin", "Europe/Berlin",
         "festival", 60, 12, "EUR",
         (("Day ticket", "", 30, 8900), ("Weekend", "", 20, 16900))),
)  # fmt: skip


async def load(settings: Settings) -> None:
    """Create the demo's accounts, and its shows unless the database has any show."""
    people = await _accounts(settings, ACCOUNTS)
    sellers = [people[account.email] for account in ACCOUNTS if account.role == "Seller"]
    pool = await database.open_pool(
        settings.role_database_url("tickets"), name="gittix-demo", size=1
    )
    try:
        async with database.transaction(pool) as connection:
            if await connection.fetchval("select exists (select from tickets.shows)"):
                return
            for number, demo in enumerate(SHOWS):
                with correlation.bound():
                    owner, other = sellers[number % 2], sellers[1 - number % 2]
                    await _load_show(connection, demo, owner, other, settings.max_listed_per_show)
    finally:
        await database.close_pool(pool)


async def seed(settings: Settings, *, shows: int, tickets: int) -> None:
    """Create this many tickets in this many shows, with their events, committed in batches."""
    account = Account("Seller", f"seed-{uuid4().hex[:8]}@gittix.example", None)
    [seller] = (await _accounts(settings, [account])).values()
    pool = await database.open_pool(
        settings.role_database_url("tickets"), name="gittix-seed", size=1
    )
    try:
        counts = [tickets // shows + (number < tickets % shows) for number in range(shows)]
        for number, count in enumerate(track(counts, description="Shows")):
            with correlation.bound():
                await _seed_show(pool, seller, number, count)
    finally:
        await database.close_pool(pool)


async def _seed_show(pool: database.Pool, seller: Principal, number: int, count: int) -> None:
    async with database.transaction(pool) as connection:
        # Those of tonight would be over during a long test.
        demo = random.choice([show for show in SHOWS if isinstance(show.day, int)])  # noqa: S311
        show_id = await _create(connection, demo, seller, f" #{number + 1}")
    for start in range(0, count, BATCH):
        specs = [
            TicketSpec(
                price=random.randrange(20, 200) * 100,  # noqa: S311
                currency="EUR",
                section=f"Block {seat // 100 + 1}",
                row=str(seat % 100 // 10 + 1),
                seat=str(seat % 10 + 1),
            )
            for seat in range(start, min(start + BATCH, count))
        ]
        async with database.transaction(pool) as connection:
            await tickets.list_for_sale(connection, seller, show_id, specs, max_listed=0)


async def _load_show(
    connection: Connection, demo: Show, owner: Principal, other: Principal, max_listed: int
) -> None:
    """The other seller has every second seat, as far as the limit allows."""
    show_id = await _create(connection, demo, owner, "")
    offers = list(_seats(demo))
    others = offers[1::2][:max_listed]
    owners = offers[::2] + offers[1::2][max_listed:]
    for seller, specs in ((owner, owners), (other, others)):
        await tickets.list_for_sale(connection, seller, show_id, specs, max_listed=max_listed)


async def _create(connection: Connection, demo: Show, owner: Principal, suffix: str) -> UUID:
    starts_at = start_of(demo, datetime.now(UTC))
    ends_at = starts_at + NIGHT if demo.day == "tonight" else None
    new = NewShow(
        title=demo.title + suffix,
        venue=demo.venue,
        city=demo.city,
        starts_at=starts_at,
        timezone=demo.timezone,
        category=demo.category,
        ends_at=ends_at,
        sales_end_at=ends_at - LAST_SALE if ends_at else None,
    )
    return (await tickets.create_show(connection, owner, new)).id


def start_of(demo: Show, now: datetime) -> datetime:
    """The start of a show in a demo that is loaded `now`, in the zone of the show.

    A show of the weekend is on the other day when its own is over, and else a week later.
    """
    today = now.astimezone(ZoneInfo(demo.timezone)).replace(
        hour=demo.hour, minute=0, second=0, microsecond=0
    )
    if demo.day == "tonight":
        return today
    if isinstance(demo.day, int):
        return today + timedelta(days=demo.day)
    weekdays = (SATURDAY, SUNDAY) if demo.day == "saturday" else (SUNDAY, SATURDAY)
    monday = today - timedelta(days=today.weekday())
    starts = [monday + timedelta(days=day) for day in (*weekdays, weekdays[0] + 7)]
    return next(start for start in starts if start >= now + NOTICE)


def _seats(demo: Show) -> Iterator[TicketSpec]:
    for section, rows, seats, price in demo.seats:
        for row in rows or " ":
            for seat in range(1, seats + 1):
                seated = bool(row.strip())
                yield TicketSpec(
                    price=price,
                    currency=demo.currency,
                    section=section,
                    row=row if seated else None,
                    seat=str(seat) if seated else None,
                    face_value=price,
                )


async def _accounts(settings: Settings, accounts: Sequence[Account]) -> dict[str, Principal]:
    """Create the missing accounts. Returns the principal of each, by email address."""
    pool = await database.open_pool(settings.role_database_url("auth"), name="gittix-demo", size=1)
    passwords = Passwords()
    people = {}
    try:
        password_hash = await passwords.hash(PASSWORD)
        for account in accounts:
            async with database.transaction(pool) as connection:
                known = await users.find(connection, account.email)
                user = known.user if known else await _register(connection, account, password_hash)
            people[account.email] = Principal(user.id, user.email, user.handle, uuid4())
    finally:
        passwords.close()
        await database.close_pool(pool)
    return people


async def _register(connection: Connection, account: Account, password_hash: str) -> User:
    with correlation.bound():
        return await users.register(connection, account.email, account.handle, password_hash)
