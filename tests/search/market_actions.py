"""Requests of sellers for tickets and of buyers for orders, over HTTP and in the model."""

from collections.abc import Sequence
from typing import Any

from tests import factories
from tests.factories import Json
from tests.search.entities import Order, Refusal, Ticket
from tests.search.model import Model
from tests.search.requests import Requests, accepted
from tests.system import Person


class MarketActions:
    def __init__(self, model: Model, requests: Requests) -> None:
        self.shows: list[str] = []
        self._model = model
        self._requests = requests

    async def create_show(self, owner: Person) -> str:
        show_id: str = (await factories.show(owner))["id"]
        self.shows.append(show_id)
        return show_id

    async def list_tickets(
        self,
        seller: Person,
        show_id: str,
        prices: Sequence[int],
        currency: str,
        *,
        key: str | None = None,
    ) -> list[Ticket]:
        """One by the route for one, several by the route for many."""
        specs = [{"price": price, "currency": currency} for price in prices]
        path, body = f"/api/shows/{show_id}/tickets", dict[str, Any](tickets=specs)
        if len(specs) == 1:
            path, body = "/api/tickets", specs[0] | {"show_id": show_id}
        reply = await self._requests.send(seller, "POST", path, body, key=key)
        assert reply.status_code == 201, reply.text
        made = reply.json()["items"] if len(specs) > 1 else [reply.json()]
        tickets = [
            Ticket(each["id"], show_id, seller.name, each["price"], currency) for each in made
        ]
        assert [ticket.price for ticket in tickets] == list(prices)
        for ticket in tickets:
            self._model.list_ticket(ticket)
        return tickets

    async def edit(
        self,
        person: Person,
        ticket: Ticket,
        price: int,
        currency: str,
        behind: int | None,
        *,
        key: str | None = None,
    ) -> None:
        """`behind`: how old the version is that If-Match names; without it there is none."""
        if_match = None if behind is None else ticket.version - behind
        refusals = self._model.against_change(person.name, ticket, if_match)
        if not refusals and ticket.refuses(price, currency):
            refusals = {Refusal(422, "price_above_refunded")}
        body = {"price": price, "currency": currency}
        reply = await self._requests.send(
            person,
            "PUT",
            f"/api/tickets/{ticket.id}",
            body,
            if_match=if_match,
            key=key,
            again=lambda key: self.edit(person, ticket, price, currency, behind, key=key),
        )
        if accepted(reply, 200, refusals):
            self._model.edit(ticket, price=price, currency=currency)

    async def withdraw(
        self, person: Person, ticket: Ticket, behind: int | None, *, key: str | None = None
    ) -> None:
        if_match = None if behind is None else ticket.version - behind
        refusals = self._model.against_change(person.name, ticket, if_match)
        reply = await self._requests.send(
            person,
            "DELETE",
            f"/api/tickets/{ticket.id}",
            if_match=if_match,
            key=key,
            again=lambda key: self.withdraw(person, ticket, behind, key=key),
        )
        if accepted(reply, 204, refusals):
            self._model.withdraw(ticket)

    async def place(
        self, buyer: Person, tickets: Sequence[Ticket], *, key: str | None = None
    ) -> list[Order]:
        """The new order, if there is one."""
        refusals = self._model.against_order(buyer.name, tickets)
        ids = [ticket.id for ticket in tickets]
        body: Json = {"ticket_ids": ids} if len(ids) > 1 else {"ticket_id": ids[0]}
        reply = await self._requests.send(
            buyer,
            "POST",
            "/api/orders",
            body,
            key=key,
            again=lambda key: self.place(buyer, tickets, key=key),
        )
        if not accepted(reply, 201, refusals):
            return []
        return [self._model.place(reply.json()["id"], buyer.name, tickets)]

    async def cancel(self, person: Person, order: Order, *, key: str | None = None) -> None:
        refusals = self._model.against_cancel(person.name, order)
        reply = await self._requests.send(
            person,
            "DELETE",
            f"/api/orders/{order.id}",
            key=key,
            again=lambda key: self.cancel(person, order, key=key),
        )
        if accepted(reply, 204, refusals):
            self._model.cancel(order)
