"""Background work: holds expire, webhooks are handled, push messages are published, stalled
payments resume.
"""
