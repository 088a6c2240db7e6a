"""The shop: pages built by Reflex, live parts in React, on the HTTP API and the push channels."""
