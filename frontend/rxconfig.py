"""Reflex's configuration. backend/embedded/frontend.py runs Reflex in a copy of this folder."""

import reflex as rx

config = rx.Config(
    app_name="frontend",
    app_module_import="frontend.app",
    telemetry_enabled=False,
    show_built_with_reflex=False,
    disable_plugins=[rx.plugins.SitemapPlugin],
    # The typeface is imported by a stylesheet, so no component names its package.
    frontend_packages=["@fontsource-variable/inter@5.3.0"],
)
