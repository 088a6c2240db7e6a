"""Domain events: catalogue, outbox, relay to the Redis stream, and consumers with an inbox."""
