"""`/signup`: a new account."""

import reflex as rx

from frontend.components import SignUpForm
from frontend.shell import narrow
from frontend.texts import text


def page() -> rx.Component:
    return narrow(text("sign_up"), SignUpForm.create())
