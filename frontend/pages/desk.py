"""`/desk`: a seller's sales, live."""

import reflex as rx

from frontend.components import DeskPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(DeskPage.create())
