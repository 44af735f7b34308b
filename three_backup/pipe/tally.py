"""Counts good and failed records: they decide on the exit status of a tool."""

from three_backup.errors import BackupError, ConfigurationError, Exit, UnreachableError
from three_backup.model.records import Record


class Tally:
    """The counts of the records of one run."""

    def __init__(self) -> None:
        self._good = 0
        self._failed = 0
        self._unreachable = 0
        self._misconfigured = 0

    def count(self, record: Record) -> None:
        if record.failed:
            self._failed += 1
        else:
            self._good += 1

    def fail(self, error: BackupError) -> None:
        """Remember the kind of the error; the record that has it is counted separately."""
        self._unreachable += isinstance(error, UnreachableError)
        self._misconfigured += isinstance(error, ConfigurationError)

    @property
    def records(self) -> int:
        return self._good + self._failed

    @property
    def status(self) -> Exit:
        if self._failed == 0:
            return Exit.OK
        if self._misconfigured:
            return Exit.CONFIGURATION
        return Exit.UNREACHABLE if self._all_unreachable else Exit.FAILED

    @property
    def _all_unreachable(self) -> bool:
        return self._good == 0 and self._unreachable == self._failed
