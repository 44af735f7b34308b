"""A show on embedded servers: what tb-demo plays, and the servers that the tests run on too."""
