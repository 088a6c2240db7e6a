"""Benchmarks: each prints its figures beside a floor that ran in the same minute, and writes them as JSON."""
