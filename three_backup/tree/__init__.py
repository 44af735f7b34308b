"""Reads trees of files that nobody trusts: a program of its own, in a mount namespace of its own.

What it mounts is seen by nobody else, and goes with it, however it ends. It starts without any
other part of this package, but for the errors and the way in which programs are run.
"""
