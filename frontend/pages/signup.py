"""`/signup`: a new account."""

import reflex as rx

from frontend.components import SignUpForm
from frontend.shell import narrow


def page() -> rx.Component:
    return narrow("Make an account", SignUpForm.create())
