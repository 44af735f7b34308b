"""Looks whether the data of what stays in S3 is there, before anything is removed for its sake."""

from collections.abc import Collection, Sequence

from three_backup.catalog.catalog import Catalog
from three_backup.catalog.hollow import look
from three_backup.catalog.hollow_memory import sentence_on
from three_backup.errors import BackupError
from three_backup.model import layout
from three_backup.model.objects import Carrier
from three_backup.model.retention import Place, Verdict


def require_data(
    catalog: Catalog, carrier: Carrier, verdicts: Sequence[Verdict], places: Collection[Place]
) -> None:
    """Raise BackupError if a snapshot that is to stay in S3 is hollow, and remember which are.

    verdicts: on all copies of the carrier; they are carried out in these places. If all are to
    stay, S3 is asked only where a snapshot was hollow before. The caller holds the carrier's lock.
    """
    if all(verdict.keep for verdict in verdicts) and not catalog.hollow.of(carrier):
        return
    in_s3 = {verdict.snapshot: verdict.keep for verdict in verdicts if verdict.place is Place.S3}
    hollow = look(catalog, carrier, in_s3) if any(in_s3.values()) else {}
    failing = any(in_s3[snapshot] for snapshot in hollow)
    catalog.hollow.remember(carrier, hollow if failing or Place.S3 not in places else {})
    if failing:
        manifests = catalog.bucket.place(layout.manifest_folder(carrier))
        raise BackupError(
            "rotate.hollow",
            f"{carrier}: {sentence_on(hollow)}; nothing of the carrier is removed",
            "find out who took the data or wrote the manifests; bring the data back, or delete "
            f"these manifests below {manifests}",
        )
