"""How Reflex builds the shop. `gittix` runs it in a copy of this folder: see backend/embedded/frontend.py."""

import reflex as rx

config = rx.Config(
    app_name="frontend",
    app_module_import="frontend.app",
    telemetry_enabled=False,
    show_built_with_reflex=False,
    disable_plugins=[rx.plugins.SitemapPlugin],
    # Packages that no component names: the typeface is imported by a stylesheet.
    frontend_packages=["@fontsource-variable/inter@5.3.0"],
)
