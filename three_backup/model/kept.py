"""Where the snapshots of a source come to lie."""

from enum import Enum, auto


class Kept(Enum):
    """Where the snapshots of a source lie once they are taken."""

    FOLDERS = auto()  # in folders of this host; tb-upload sends them to S3
    # In the source itself. A point is restored without its parents; the next increment, and those
    # not yet uploaded, are made from points.
    POINTS = auto()
    DIRECT = auto()  # in S3 alone, where the source's server writes them itself
