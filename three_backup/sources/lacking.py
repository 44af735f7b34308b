"""Live objects that a manifest does not list, and the reasons."""

from three_backup.errors import BackupError
from three_backup.model.objects import ObjectId
from three_backup.model.snapshots import Manifest

LACKING = "lacking"
"""The fact of a manifest that says why enabled live objects are not in the snapshot. It maps the
id of an object, or what the ids of many begin with (`postgres/table/production`), to `why` and
`hint`."""


def why_lacking(manifest: Manifest, object_id: ObjectId) -> BackupError | None:
    """Explain why the manifest does not list the object; None if it is gone at the source."""
    levels = str(object_id).split("/")
    prefixes = ("/".join(levels[:count]) for count in range(len(levels), 0, -1))
    reasons = manifest.facts.get(LACKING, {})
    for reason in (reasons[prefix] for prefix in prefixes if prefix in reasons):
        message = f"{object_id}: snapshot {manifest.snapshot} does not hold it: {reason['why']}"
        return BackupError("snapshot.lacks", message, reason["hint"])
    return None


DISABLED = "disabled"
"""The fact of a manifest that lists the ids of live objects left out because they are disabled."""
