"""Benchmarks: each prints its figures beside a floor of the same minute, and writes JSON."""
