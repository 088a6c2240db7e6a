"""`/account`: the user's handle and email."""

import reflex as rx

from frontend.components import AccountPage
from frontend.shell import narrow


def page() -> rx.Component:
    return narrow("Your account", AccountPage.create())
