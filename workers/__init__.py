"""What happens without a request: holds expire, webhooks are handled, clients are told, what was lost is found."""
