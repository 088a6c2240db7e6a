"""`/account`: the user's handle and email."""

import reflex as rx

from frontend.components import AccountPage
from frontend.shell import narrow
from frontend.texts import text


def page() -> rx.Component:
    return narrow(text("account"), AccountPage.create())
