"""Spoil one request to S3 out of many, and tell the test which one."""

from dataclasses import dataclass, field, replace
from random import Random
from time import sleep

import pytest

from tests.lab.fault_proxy import Answer, Forward, Request, refusal
from tests.lab.sample import Sample

PASSING = ("hiccup", "torn", "slow")
"""The kinds that a run survives if it has time."""
FAULTS = ("away", "lost", "denied", *PASSING)
MANY = 11
_DRAWN = 2
_SLOW_SECONDS = 2
_AWAY = Answer(0, {}, b"")


@dataclass
class Fault:
    """A meddler of the proxy that spoils the n-th request of ours, and perhaps those after it.

    Requests of ClickHouse's server pass and are not counted.
    """

    # away: no request from the n-th on is answered; lost: the same, but the n-th is carried out;
    # denied: the n-th is refused for good; hiccup: it is refused for the moment; torn: half of its
    # answer arrives; slow: its answer is late; flipped: its answer has one wrong bit.
    kind: str = ""
    number: int = 0  # n, counted from 1; 0: nothing is spoiled
    seen: int = 0  # requests so far
    injected: list[str] = field(default_factory=list)  # the faults that happened

    def arm(self, kind: str, number: int) -> None:
        self.kind, self.number, self.seen = kind, number, 0
        self.injected.clear()

    def __call__(self, request: Request, forward: Forward) -> Answer:
        if "oto" not in request.headers.get("User-Agent", ""):
            return forward()
        self.seen += 1
        if self.kind in ("away", "lost") and self.seen > self.number > 0:
            return _AWAY
        if self.seen != self.number:
            return forward()
        self.injected.append(f"{self.kind} {request.method} {request.path}")
        return self._spoiled(forward)

    def _spoiled(self, forward: Forward) -> Answer:
        if self.kind == "away":
            return _AWAY
        if self.kind == "denied":
            return refusal(403, "AccessDenied")
        if self.kind == "hiccup":
            return refusal(503, "SlowDown")
        answer = forward()
        if self.kind == "slow":
            sleep(_SLOW_SECONDS)
            return answer
        if self.kind == "flipped" and answer.body:
            body = bytearray(answer.body)
            body[len(body) // 2] ^= 1
            return replace(answer, body=bytes(body))
        return _AWAY if self.kind == "lost" else replace(answer, sent=len(answer.body) // 2)


def certain(most: int) -> int:
    """Return how many requests every run surely makes, if it makes at most so many."""
    return most // 4


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test that is marked with kinds of faults and its highest number of requests.

    Each kind spoils one request that every run makes; from `--seeds 11` on, each of the first
    `seeds` requests in turn. A sample takes two of the kinds.
    """
    sample = Sample.of(metafunc.config)
    for mark in metafunc.definition.iter_markers("faults"):
        kinds, most = mark.args
        every = range(1, 1 + min(most, sample.seeds or 0)) if (sample.seeds or 0) >= MANY else ()
        metafunc.parametrize(
            ("kind", "number"),
            [
                (kind, number)
                for kind in sample.some(kinds, _DRAWN, f"kinds {metafunc.definition.nodeid}")
                for number in every or [_one(sample, kind, most)]
            ],
        )


def _one(sample: Sample, kind: str, most: int) -> int:
    draws = Random(kind) if sample.everything else sample.random(kind)
    return draws.randint(1, certain(most))
