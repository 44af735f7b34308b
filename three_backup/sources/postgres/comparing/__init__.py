"""Compares tables of a snapshot with those of another one, or with the live server's.

Both servers hash their rows into buckets, in one scan each. Only rows of buckets that differ leave
the later side, and the scratch server of the earlier one finds out in what they differ.
"""
