"""Measurements under load: benchmarks, each with a floor, and locust scenarios."""
