"""The shop's place: the Reflex front end is built here, on the HTTP API and the push channels alone."""
