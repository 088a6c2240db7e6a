"""The shop's pages, one module each, named as their route."""
