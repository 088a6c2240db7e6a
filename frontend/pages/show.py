"""`/shows/{id}`: one show's tickets, live."""

import reflex as rx

from frontend.components import ShowPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(ShowPage.create())
