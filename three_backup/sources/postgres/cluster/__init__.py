"""A whole cluster: a data directory out of a chain."""
