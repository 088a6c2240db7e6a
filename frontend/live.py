"""The widgets that live in the browser, typed: each is a React component of assets/live.

They read the API themselves and hear the gateway themselves; nothing of theirs passes through a server of Reflex's.
"""

from typing import Any

import reflex as rx

LIVE = "$/public/live"


class Widget(rx.Component):
    """A component of `assets/live`, by the name that its file exports."""

    lib_dependencies: list[str] = ["pusher-js@8.6.0"]  # noqa: RUF012 - Reflex reads it as a field's default


class ShowList(Widget):
    """Shows with live counts, searched and filtered by the address."""

    library = f"{LIVE}/browse.jsx"
    tag = "ShowList"


class ShowPage(Widget):
    """One show's tickets, live, and the shopper's pick."""

    library = f"{LIVE}/show.jsx"
    tag = "ShowPage"


class CheckoutPage(Widget):
    """One order: its clock, its bill, the card, and how it ends."""

    library = f"{LIVE}/checkout.jsx"
    tag = "CheckoutPage"


class MyOrders(Widget):
    """The visitor's own orders, live."""

    library = f"{LIVE}/my_orders.jsx"
    tag = "MyOrders"


class Sell(Widget):
    """A seller's shows, or one of them with the form that lists tickets and the seller's own, live."""

    library = f"{LIVE}/sell.jsx"
    tag = "Sell"


class Desk(Widget):
    """A seller's sales, live: totals, charts, holds in progress and what happened."""

    library = f"{LIVE}/desk.jsx"
    tag = "Desk"
    lib_dependencies: list[str] = [*Widget.lib_dependencies, "recharts@3.10.1"]  # noqa: RUF012 - as above


class LivePill(Widget):
    """Whether what the page shows is live."""

    library = f"{LIVE}/pill.jsx"
    tag = "LivePill"


class AccountMenu(Widget):
    """Sign in, or who is signed in and the way out."""

    library = f"{LIVE}/account.jsx"
    tag = "AccountMenu"


class SignInForm(Widget):
    """Email and password; then on to where the visitor wanted to go."""

    library = f"{LIVE}/account.jsx"
    tag = "SignInForm"


class SignUpForm(Widget):
    """A new account, signed in at once."""

    library = f"{LIVE}/account.jsx"
    tag = "SignUpForm"


class ThemeSwitch(Widget):
    """Light or dark; remembered, and without it the system's choice."""

    library = f"{LIVE}/theme.jsx"
    tag = "ThemeSwitch"


class Toasts(Widget):
    """Short notices that come and go by themselves."""

    library = f"{LIVE}/toasts.jsx"
    tag = "Toasts"


class NavLink(rx.Component):
    """A link within the shop that knows when its page is open (`aria-current`)."""

    library = "react-router"
    tag = "NavLink"
    to: rx.Var[str]


def nav_link(text: str | rx.Component, to: str, **props: Any) -> rx.Component:
    link: rx.Component = NavLink.create(text, to=to, **props)
    return link
