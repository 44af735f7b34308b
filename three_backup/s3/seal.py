"""The hash that goes with a part, and how a store is told it."""

from base64 import b64encode
from dataclasses import dataclass
from enum import Enum


class Check(Enum):
    """The header with which a store compares a part when it arrives."""

    MD5 = "Content-MD5"
    SIGNED = "x-amz-content-sha256"
    CHECKSUM = "x-amz-checksum-sha256"


@dataclass(frozen=True, slots=True)
class Proof:
    """The use that a store was found to make of the hash of a part."""

    check: Check  # compares it with this
    tells_md5: bool = False  # answers with the MD5 of what arrived, as far as that was looked at


@dataclass(frozen=True, slots=True)
class Seal:
    """The hash of a part: MD5 for Check.MD5, SHA-256 for the others."""

    check: Check
    digest: bytes

    @property
    def base64(self) -> str:
        """The hash as headers spell it."""
        return b64encode(self.digest).decode()

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that tell boto3; see signing."""
        if self.check is Check.MD5:
            return {"ContentMD5": self.base64}
        asked = {"ChecksumAlgorithm": "SHA256"} if self.check is Check.CHECKSUM else {}
        return {"ChecksumSHA256": self.base64, **asked}

    def contradicts(self, told: str | None) -> bool:
        """Whether the store tells another SHA-256 of what arrived. told: None if it tells none."""
        return self.check is not Check.MD5 and told not in (None, self.base64)
