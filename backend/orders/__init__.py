"""Orders, their lines and their states. This service decides which order wins a ticket."""
