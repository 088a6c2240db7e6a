"""`make load`: a scenario against a system, its gates, its report."""

import locust  # noqa: F401 - it makes the standard library gevent's, and must be before whatever uses that

from loadtests.command import cli

cli()
