"""`/signin`: email and password."""

import reflex as rx

from frontend.components import SignInForm
from frontend.shell import narrow
from frontend.texts import text


def page() -> rx.Component:
    return narrow(text("sign_in"), SignInForm.create())
