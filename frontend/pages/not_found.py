"""The page for an address that does not exist."""

import reflex as rx

from frontend.components import NotFound
from frontend.shell import shell


def page() -> rx.Component:
    return shell(rx.el.div(NotFound.create(), class_name="narrow"))
