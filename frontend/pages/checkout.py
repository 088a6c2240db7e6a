"""`/checkout/{order_id}`: one order, from its hold to its outcome."""

import reflex as rx

from frontend.components import CheckoutPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(CheckoutPage.create())
