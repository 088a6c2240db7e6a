"""`make load`: run a scenario against a system, check its gates, write a report."""

# Locust patches the standard library for gevent, so its import precedes all that use sockets.
import locust  # noqa: F401

from loadtests.command import cli

cli()
