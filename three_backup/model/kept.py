"""The places where sources keep their snapshots."""

from enum import Enum, auto


class Kept(Enum):
    """The place of a source's snapshots right after they are taken."""

    FOLDERS = auto()  # in folders of this host; tb-upload sends them to S3
    # In the source itself. A point is restored without its parents; the next increment, and those
    # not yet uploaded, are made from points.
    POINTS = auto()
    DIRECT = auto()  # in S3 alone, where the source's server writes them itself
