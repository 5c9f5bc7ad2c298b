"""One model behind its provider, without failover: what chains are made of, and what a plain call uses."""

from __future__ import annotations

import difflib
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral, Real
from time import perf_counter
from typing import TypedDict, Unpack

from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.engine.policy import get_failover_defaults
from llm_failover_nb.engine.portal import calls_of
from llm_failover_nb.engine.types import Chunk, Prompt, Provider, Request, Response, Timeouts

__all__ = ["Model", "RequestFields", "build_request", "split_spec"]


class RequestFields(TypedDict, total=False):
    """The fields of a :class:`Request` that a call may give."""

    system: str | None
    temperature: float | None
    max_tokens: int | None
    stop: str | Sequence[str]
    seed: int | None
    schema: Mapping[str, object] | None
    extra: Mapping[str, object]


_FIELDS = tuple(RequestFields.__annotations__)

# The numbers among them: of which kind, and the least.
_NUMBERS: Mapping[str, tuple[type[Real], int | None]] = {
    "temperature": (Real, 0),
    "max_tokens": (Integral, 1),
    "seed": (Integral, None),
}


def build_request(
    prompt: Prompt,
    model: str,
    given: RequestFields,
    timeouts: Timeouts = Timeouts(),  # noqa: B008  # frozen
) -> Request:
    """The request of a call.

    Raises:
        TypeError: When a field is unknown (with the nearest known one) or of the wrong type, or the prompt
            is of no known form.
        ValueError: When a number is out of range.
    """
    if given and (unknown := [name for name in given if name not in _FIELDS]):
        near = difflib.get_close_matches(unknown[0], _FIELDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "use extra={...} for what the wire takes besides"
        raise TypeError(f"{unknown[0]!r} is no field of a request ({', '.join(_FIELDS)}); {hint}")
    for name, value in given.items():
        _check_field(name, value)
    if isinstance(prompt, Request):
        return replace(prompt, model=model, timeouts=timeouts, **given)  # type: ignore[arg-type]  # coerced there
    # A request takes a tuple for coerced already; a caller's may hold dicts.
    turns = list(prompt) if isinstance(prompt, tuple) else prompt
    return Request(turns, model, timeouts=timeouts, **given)  # type: ignore[arg-type]  # coerced there


def _check_field(name: str, value: object) -> None:
    if value is None or name not in _NUMBERS:
        return
    kind, least = _NUMBERS[name]
    what = "a whole number" if kind is Integral else "a number"
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name}={value!r} is not {what}")
    if least is not None and not least <= float(value) < math.inf:
        raise ValueError(f"{name}={value!r} is out of range: give {what}, at least {least}")


def split_spec(spec: str) -> tuple[str, str]:
    """Provider and bare model name of a spec; the provider ends at the first slash.

    Raises:
        ChainSpecError: When one of the two is missing.

    >>> split_spec("openrouter/meta/llama")
    ('openrouter', 'meta/llama')
    """
    provider, _, name = spec.partition("/")
    if ";" in spec:
        raise ChainSpecError(f"{spec!r} is no spec: a chain joins its specs by commas, not semicolons")
    if not provider or not name:
        raise ChainSpecError(f"{spec!r} is no spec: write provider/model, such as openai/gpt-x")
    return provider, name


class Model:
    """One model, asked directly: no retry, no failover, no bench.

    Args:
        spec: ``provider/model``; the provider is handed what stands after the first slash.
        provider: Any object with ``complete`` and ``stream``, or their asynchronous twins.

    Raises:
        ChainSpecError: When the spec names no model.
        TypeError: When the provider has neither pair of calls.
    """

    def __init__(self, spec: str, provider: Provider) -> None:
        self.spec = spec
        self.name = split_spec(spec)[1]
        self.provider = provider
        self.calls = calls_of(provider)
        self._timeouts = get_failover_defaults().timeouts

    def complete(self, prompt: Prompt, **given: Unpack[RequestFields]) -> Response:
        """The model's answer; its own exceptions pass through."""
        start = perf_counter()
        answer = self.calls.complete(self._request(prompt, given))
        return replace(answer, model=self.spec, latency=perf_counter() - start)

    async def acomplete(self, prompt: Prompt, **given: Unpack[RequestFields]) -> Response:
        """:meth:`complete`, awaited."""
        start = perf_counter()
        answer = await self.calls.acomplete(self._request(prompt, given))
        return replace(answer, model=self.spec, latency=perf_counter() - start)

    def stream(self, prompt: Prompt, **given: Unpack[RequestFields]) -> Iterator[Chunk]:
        """The provider's chunks as they come, then one of kind ``done`` with the whole ``response``.

        Nothing is sent before the first ``next``; closing the iterator closes the provider's.
        """
        return self._stream(self._request(prompt, given))

    def astream(self, prompt: Prompt, **given: Unpack[RequestFields]) -> AsyncIterator[Chunk]:
        """:meth:`stream`, asynchronous; iterate it under ``contextlib.aclosing`` to leave it early."""
        return self._astream(self._request(prompt, given))

    def _stream(self, request: Request) -> Iterator[Chunk]:
        whole = _Whole(self.spec)
        chunks = iter(self.calls.stream(request))
        try:
            for chunk in chunks:
                if whole.takes(chunk):
                    yield chunk
        finally:
            if (close := getattr(chunks, "close", None)) is not None:
                close()
        yield whole.done()

    async def _astream(self, request: Request) -> AsyncIterator[Chunk]:
        whole = _Whole(self.spec)
        chunks = aiter(self.calls.astream(request))
        try:
            async for chunk in chunks:
                if whole.takes(chunk):
                    yield chunk
        finally:
            if (aclose := getattr(chunks, "aclose", None)) is not None:
                await aclose()
        yield whole.done()

    def __repr__(self) -> str:
        return f"Model({self.spec!r})"

    def _request(self, prompt: Prompt, given: RequestFields) -> Request:
        return build_request(prompt, self.name, given, self._timeouts)


class _Whole:
    """Gathers one stream into the answer that its last chunk carries."""

    def __init__(self, spec: str) -> None:
        self._spec = spec
        self._start = perf_counter()
        self._first: float | None = None
        self._parts: list[str] = []
        self._answer = Response()

    def takes(self, chunk: Chunk) -> bool:
        """Note a chunk; whether it is to be handed on: the provider's own ``done`` is not."""
        if chunk.kind == "done":
            self._answer = chunk.response or self._answer
            return False
        if self._first is None and (chunk.text.strip() or chunk.tool):
            self._first = perf_counter() - self._start
        if chunk.kind == "text":
            self._parts.append(chunk.text)
        return True

    def done(self) -> Chunk:
        answer = replace(
            self._answer,
            text="".join(self._parts) or self._answer.text,
            model=self._spec,
            latency=perf_counter() - self._start,
            first_token=self._first,
        )
        return Chunk(kind="done", response=answer)
