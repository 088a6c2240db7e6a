"""The page for an address that does not exist."""

import reflex as rx

from frontend.components import nav_link
from frontend.shell import narrow


def page() -> rx.Component:
    return narrow(
        "There is nothing here",
        rx.el.p("The address may have a typing mistake, or the page has moved.", class_name="soft"),
        nav_link("See all shows", "/", class_name="button"),
    )
