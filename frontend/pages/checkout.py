"""`/checkout/{order_id}`: one order, from its hold to its end."""

import reflex as rx

from frontend.live import CheckoutPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(CheckoutPage.create())
