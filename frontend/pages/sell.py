"""`/sell`: lists, changes and withdraws shows and tickets; `?show=` names a show."""

import reflex as rx

from frontend.components import SellPage
from frontend.shell import shell


def page() -> rx.Component:
    return shell(SellPage.create())
