"""What is kept of a run: figures as JSON, a table as CSV, and one HTML page that needs nothing else."""

from loadtests.report.files import write
from loadtests.report.model import Report

__all__ = ["Report", "write"]
