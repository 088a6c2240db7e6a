"""The shop's pages: one module each, with the name of its route."""
