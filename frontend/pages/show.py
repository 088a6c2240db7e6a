"""`/shows/{id}`: one show's tickets, live."""

import reflex as rx

from frontend.live import ShowPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(ShowPage.create())
