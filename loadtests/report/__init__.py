"""The report of a run: figures as JSON, a table as CSV, and one self-contained HTML page."""

from loadtests.report.files import write
from loadtests.report.model import Report

__all__ = ["Report", "write"]
