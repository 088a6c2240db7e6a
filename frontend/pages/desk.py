"""`/desk`: a seller's sales, live."""

import reflex as rx

from frontend.live import Desk
from frontend.shell import shell


def page() -> rx.Component:
    return shell(Desk.create())
