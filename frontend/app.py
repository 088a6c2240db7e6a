"""The Reflex application: its pages with their routes, its stylesheets, and every page's head.

A page is a module of `pages` with a function `page()`. Reflex builds the pages and does not run:
`enable_state=False` leaves out its server and its socket (docs/decisions/0015).
"""

import reflex as rx

from frontend.pages import (
    account,
    browse,
    checkout,
    desk,
    not_found,
    orders,
    sell,
    show,
    signin,
    signup,
)
from frontend.shell import document_head, waiting
from frontend.texts import text

# The styles of all pages, then those of single pages.
STYLES = (
    "fonts",
    "tokens",
    "base",
    "parts",
    "rows",
    "browse",
    "show",
    "checkout",
    "orders",
    "sell",
    "desk",
)

app = rx.App(
    enable_state=False,
    # The design is our own: no component library, and no toasts of Reflex.
    theme=None,
    toaster=None,
    reset_style=False,
    html_lang="en",
    stylesheets=[f"/styles/{name}.css" for name in STYLES],
    head_components=document_head(),
    hydrate_fallback=waiting,
)

app.add_page(browse.page, route="/", title=text("title_browse"), description=browse.DESCRIPTION)
app.add_page(show.page, route="/shows/[show_id]", title=text("title_show"))
app.add_page(checkout.page, route="/checkout/[order_id]", title=text("title_checkout"))
app.add_page(orders.page, route="/orders", title=text("title_orders"))
app.add_page(sell.page, route="/sell", title=text("title_sell"))
app.add_page(desk.page, route="/desk", title=text("title_desk"))
app.add_page(signin.page, route="/signin", title=text("title_signin"))
app.add_page(signup.page, route="/signup", title=text("title_signup"))
app.add_page(account.page, route="/account", title=text("title_account"))
app.add_page(not_found.page, route="/404", title=text("title_not_found"))
