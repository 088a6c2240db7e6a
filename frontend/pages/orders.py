"""`/orders`: the visitor's own orders, live."""

import reflex as rx

from frontend.components import OrdersPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(rx.el.h1("My orders", class_name="title"), OrdersPage.create())
