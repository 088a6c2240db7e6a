"""`/signin`: email and password."""

import reflex as rx

from frontend.components import SignInForm
from frontend.shell import narrow


def page() -> rx.Component:
    return narrow("Sign in", SignInForm.create())
