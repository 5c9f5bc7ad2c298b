"""What tests of stream readers share: recorded streams, ways to cut them, and what a reader made of one."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_failover_nb.engine.classify import classify
from llm_failover_nb.engine.errors import ProviderError
from llm_failover_nb.engine.types import Chunk, Response
from llm_failover_nb.providers.dialect import Dialect

CORPUS = Path(__file__).parents[1] / "corpus"


def recorded(wire: str) -> list[dict[str, Any]]:
    """The streams of the corpus that came over ``wire``, with their bytes as ``body``."""
    lines = (CORPUS / "streams.jsonl").read_text("utf-8").strip().split("\n")
    cases = [json.loads(line) for line in lines]
    return [case | {"body": (CORPUS / case["file"]).read_bytes()} for case in cases if case["wire"] == wire]


def failures_in_a_200(wire: str) -> list[dict[str, Any]]:
    """The failures of the corpus that came over ``wire`` with a status of success."""
    lines = (CORPUS / "errors.jsonl").read_text("utf-8").strip().split("\n")
    cases = [json.loads(line) for line in lines]
    return [case for case in cases if case["wire"] == wire and case["status"] == 200]


@dataclass
class Reading:
    """What a reader made of a stream."""

    chunks: list[Chunk] = field(default_factory=list)
    error: ProviderError | None = None

    def said(self, kind: str = "text") -> str:
        return "".join(chunk.text for chunk in self.chunks if chunk.kind == kind)

    @property
    def answer(self) -> Response:
        assert self.error is None, self.error
        assert self.chunks[-1].response is not None
        return self.chunks[-1].response

    @property
    def reason(self) -> str | None:
        return None if self.error is None else self.error.reason

    def kind(self, wire: str) -> str | None:
        return str(classify(self.error, wire=wire).kind) if self.error else None


def read(dialect: Dialect, *pieces: bytes) -> Reading:
    """Read a stream that arrives in ``pieces``, the way the provider does."""
    reader, reading = dialect.reader(), Reading()
    for piece in pieces:
        reading.chunks += reader.feed(piece)
        if reader.finished:
            break
    try:
        reading.chunks += reader.end()
    except ProviderError as error:
        reading.error = error
    return reading


def summary(dialect: Dialect, *pieces: bytes) -> object:
    """All of a reading that must not depend on how the bytes were cut."""
    reading = read(dialect, *pieces)
    error = reading.error and (
        str(reading.error),
        reading.error.status,
        reading.error.code,
        reading.error.body,
    )
    kinds = [(chunk.kind, chunk.text, chunk.tool) for chunk in reading.chunks]
    return kinds, error, None if reading.error else reading.answer


def cuts(body: bytes, places: list[int]) -> list[bytes]:
    """``body`` cut at ``places``."""
    edges = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def bytewise(body: bytes) -> list[bytes]:
    return [body[i : i + 1] for i in range(len(body))]


def check_against_label(case: dict[str, Any], reading: Reading) -> None:
    """Text, reasons, usage and kind of error are those of the label, or of its other defensible reading."""
    kind = reading.kind(case["wire"])
    usage = case["expect_usage"] or {}
    assert reading.said() == case["expect_text"]
    assert kind == case["expect_error_kind"] or (case["contested"] and kind == case["contested_alt"])
    content = [chunk for chunk in reading.chunks if chunk.kind != "done"]
    assert (reading.error is not None and not content) == case["error_before_first_text"]
    if reading.error is None:
        answer = reading.answer
        assert answer.text == case["expect_text"]
        assert answer.finish_reason == case["expect_finish_reason"]
        assert {name: getattr(answer.usage, name) for name in usage} == usage
    if "expect_retry_after_s" in case and reading.error is not None:
        assert classify(reading.error, wire=case["wire"]).retry_after == case["expect_retry_after_s"]
