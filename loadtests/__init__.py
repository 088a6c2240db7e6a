"""What GitTix does under load, measured: benchmarks beside a floor, and locust scenarios."""
