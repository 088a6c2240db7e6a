"""`/`: shows by date, city and category, with live counts."""

import reflex as rx

from frontend.components import ShowList
from frontend.shell import shell
from frontend.texts import text

DESCRIPTION = text("description")


def page() -> rx.Component:
    return shell(
        rx.el.h1(text("hero_first"), " ", rx.el.br(), text("hero_second"), class_name="title hero"),
        ShowList.create(),
    )
