"""The frame of every page: head, header, content, footer, toasts."""

import reflex as rx

from frontend.components import (
    AccountMenu,
    ConnectionStatus,
    HoldPill,
    SkipLinks,
    ThemeSwitch,
    Toasts,
    nav_link,
)
from frontend.texts import text

# The text and the address of each link in the header. They are the same for visitors and users: a
# page for users invites a visitor to sign in.
NAVIGATION = (("browse", "/"), ("orders", "/orders"), ("sell", "/sell"), ("desk", "/desk"))


def shell(*content: rx.Component) -> rx.Component:
    return rx.el.div(
        SkipLinks.create(),
        header(),
        rx.el.main(*content, id="content", tab_index=-1, class_name="wide"),
        footer(),
        Toasts.create(),
        class_name="page",
    )


def narrow(title: str, *content: rx.Component) -> rx.Component:
    """A page of one card, for forms."""
    return shell(
        rx.el.div(rx.el.h1(title, class_name="title"), *content, class_name="narrow"),
    )


def waiting() -> rx.Component:
    """The header, until a page's script runs: the layout does not shift when it does."""
    return rx.el.div(
        rx.el.div(
            header_start(),
            rx.el.div(class_name="header-end account-place"),
            class_name="wide header",
        ),
        class_name="page",
        aria_busy="true",
    )


def header() -> rx.Component:
    return rx.el.header(
        rx.el.div(
            header_start(),
            rx.el.div(
                HoldPill.create(),
                ConnectionStatus.create(),
                ThemeSwitch.create(),
                AccountMenu.create(),
                class_name="header-end",
            ),
            class_name="wide header",
        ),
    )


def header_start() -> rx.Component:
    """The logo and the links to the pages."""
    return rx.el.div(
        nav_link(logo(), "/", class_name="home", custom_attrs={"aria-label": text("home")}),
        rx.el.nav(
            *(nav_link(text(name), to, class_name="nav-link") for name, to in NAVIGATION),
            aria_label=text("navigation"),
        ),
        class_name="header-start",
    )


def footer() -> rx.Component:
    return rx.el.footer(
        rx.el.div(
            rx.el.p(text("footer")),
            rx.el.a(text("api"), href="/api/docs"),
            class_name="wide footer",
        ),
    )


def logo() -> rx.Component:
    """A ticket: a stub with a notch in each side."""
    return rx.el.span(
        rx.el.svg(
            rx.el.path(
                d="M2 3h20a2 2 0 0 1 2 2v2.2a2.8 2.8 0 0 0 0 5.6V15a2 2 0 0 1-2 2"
                "H2a2 2 0 0 1-2-2v-2.2a2.8 2.8 0 0 0 0-5.6V5a2 2 0 0 1 2-2z",
                fill="currentColor",
            ),
            view_box="0 0 24 20",
            width="24",
            height="20",
            aria_hidden="true",
            class_name="logo-mark",
        ),
        rx.el.span("GitTix", class_name="logo-name"),
        class_name="logo",
    )


def document_head() -> list[rx.Component]:
    return [
        rx.el.link(rel="icon", type="image/svg+xml", href="/favicon.svg"),
        *(
            rx.el.meta(
                name="theme-color",
                content=paper,
                custom_attrs={"media": f"(prefers-color-scheme: {scheme})"},
            )
            for scheme, paper in (("light", "#FBFAF7"), ("dark", "#111014"))
        ),
    ]
