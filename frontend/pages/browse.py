"""`/`: shows by date, city and category, with live counts."""

import reflex as rx

from frontend.components import ShowList
from frontend.shell import shell

DESCRIPTION = "Tickets from people, as they come free. Hold one for a minute while you pay."


def page() -> rx.Component:
    return shell(
        rx.el.h1(
            "Tickets from people, ", rx.el.br(), "as they come free.", class_name="title hero"
        ),
        ShowList.create(),
    )
