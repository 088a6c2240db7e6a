"""`/orders`: the visitor's own orders, live."""

import reflex as rx

from frontend.components import OrdersPage
from frontend.shell import shell
from frontend.texts import text


def page() -> rx.Component:
    return shell(rx.el.h1(text("orders"), class_name="title"), OrdersPage.create())
