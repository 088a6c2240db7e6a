"""The shop: pages in Reflex, live widgets in React, built on the HTTP API and the push channels alone."""
