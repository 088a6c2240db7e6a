"""The push service: a WebSocket gateway for the Pusher Channels protocol, and the publisher that
feeds it.
"""
