"""`/sell`: shows and tickets put on sale, changed and withdrawn; `?show=` names one."""

import reflex as rx

from frontend.live import Sell
from frontend.shell import shell


def page() -> rx.Component:
    return shell(Sell.create())
