"""The React components of `assets/src` as Reflex components, one class each.

They read the API and receive push messages in the browser; no server of Reflex is involved.
"""

from typing import Any

import reflex as rx

# Reflex copies `assets` to `.web/public`, and Vite resolves `$` to `.web`.
SOURCES = "$/public/src"


class ReactComponent(rx.Component):
    """A component of `assets/src`: `library` is its file, `tag` the name that the file exports."""

    # Reflex reads a class's attribute as the default of a field.
    lib_dependencies: list[str] = [  # noqa: RUF012
        "pusher-js@8.6.0",
        "intl-messageformat@12.1.5",
    ]


class ShowList(ReactComponent):
    """The shows with live counts; the address holds the search and the filters."""

    library = f"{SOURCES}/browse/show-list.tsx"
    tag = "ShowList"


class ShowPage(ReactComponent):
    """One show's tickets, live, and the visitor's selection."""

    library = f"{SOURCES}/show/show-page.tsx"
    tag = "ShowPage"


class CheckoutPage(ReactComponent):
    """One order: its countdown, its prices, the card, and its outcome."""

    library = f"{SOURCES}/checkout/checkout-page.tsx"
    tag = "CheckoutPage"


class OrdersPage(ReactComponent):
    """The visitor's own orders, live."""

    library = f"{SOURCES}/orders/orders-page.tsx"
    tag = "OrdersPage"


class SellPage(ReactComponent):
    """A seller's shows, or one of them: the listing form and the seller's tickets, live."""

    library = f"{SOURCES}/sell/sell-page.tsx"
    tag = "SellPage"


class DeskPage(ReactComponent):
    """A seller's sales, live: totals, charts, holds in progress and the latest sales."""

    library = f"{SOURCES}/desk/desk-page.tsx"
    tag = "DeskPage"
    lib_dependencies: list[str] = [  # noqa: RUF012
        *ReactComponent.lib_dependencies,
        "recharts@3.10.1",
    ]


class ConnectionStatus(ReactComponent):
    """Whether the page is connected to the push gateway."""

    library = f"{SOURCES}/shared/ui/connection-status.tsx"
    tag = "ConnectionStatus"


class HoldPill(ReactComponent):
    """The hold that ends first, with the link that pays; nothing without a hold."""

    library = f"{SOURCES}/shared/ui/hold-pill.tsx"
    tag = "HoldPill"


class SkipLinks(ReactComponent):
    """The links past the header; they also focus the heading of another page that is opened."""

    library = f"{SOURCES}/shared/ui/skip-links.tsx"
    tag = "SkipLinks"


class AccountMenu(ReactComponent):
    """The link to sign in, or the menu of the signed-in user."""

    library = f"{SOURCES}/account/account-menu.tsx"
    tag = "AccountMenu"


class AccountPage(ReactComponent):
    """The user's handle, which the user can change, and the email."""

    library = f"{SOURCES}/account/account-page.tsx"
    tag = "AccountPage"


class SignInForm(ReactComponent):
    """Email and password; leads on to the page that the visitor wanted."""

    library = f"{SOURCES}/account/account-forms.tsx"
    tag = "SignInForm"


class SignUpForm(ReactComponent):
    """A new account, which is signed in at once."""

    library = f"{SOURCES}/account/account-forms.tsx"
    tag = "SignUpForm"


class NotFound(ReactComponent):
    """There is no such page, or it cannot be loaded now."""

    library = f"{SOURCES}/shared/ui/not-found.tsx"
    tag = "NotFound"


class ThemeSwitch(ReactComponent):
    """Light or dark; the browser remembers it, and the system's setting is the default."""

    library = f"{SOURCES}/shared/ui/theme-switch.tsx"
    tag = "ThemeSwitch"


class Toasts(ReactComponent):
    """Short notices that vanish by themselves."""

    library = f"{SOURCES}/shared/ui/toasts.tsx"
    tag = "Toasts"


class NavLink(rx.Component):
    """A link within the shop; it has `aria-current` while its page is open."""

    library = "react-router"
    tag = "NavLink"
    to: rx.Var[str]


def nav_link(text: str | rx.Component, to: str, **props: Any) -> rx.Component:
    link: rx.Component = NavLink.create(text, to=to, **props)
    return link
