"""What a caller holds: a chain of models with its four calls, and the ways to build one. No loop here.

The four calls are drivers of one :class:`~llm_failover_nb.engine.failover.Call`; they differ by ``await``.
"""

from __future__ import annotations

import difflib
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Hashable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Literal, Self, TypedDict, TypeVar, Unpack, cast

from llm_failover_nb.engine.bench import BenchedModel, BenchRegistry, process_benches
from llm_failover_nb.engine.check import Check, checked_check
from llm_failover_nb.engine.classify import Verdict, classify
from llm_failover_nb.engine.clock import Clock
from llm_failover_nb.engine.errors import ChainSpecError, ErrorKind
from llm_failover_nb.engine.events import (
    EventLog,
    Observer,
    checked_observers,
    get_failover_observer,
    process_log,
)
from llm_failover_nb.engine.failover import Call, Classify, Entry, Setup
from llm_failover_nb.engine.model import Model, RequestFields, build_request
from llm_failover_nb.engine.policy import Backoff, Policy, get_failover_defaults
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.engine.roster import RunningCall
from llm_failover_nb.engine.steps import Wait
from llm_failover_nb.engine.types import Chunk, Prompt, Request, Response

__all__ = [
    "Chain",
    "ChainOptions",
    "Registry",
    "bench_model",
    "cancel_call",
    "failover_model",
    "is_benched",
    "list_benched",
    "list_running",
    "parse_chain",
    "process_registry",
    "unbench_model",
]

T = TypeVar("T")


class PolicyFields(TypedDict, total=False):
    """The fields of :class:`Policy`."""

    max_retries: int
    stream_max_retries: int | None
    cooldown: float
    bench_threshold: int
    backoff: Backoff | None
    max_wait: float
    max_bench: float
    connect_timeout: float | None
    first_token_timeout: float | None
    idle_timeout: float | None
    attempt_timeout: float | None
    deadline: float | None
    midstream: Literal["raise", "restart"]
    content_filter: Literal["stop", "next"]


class ChainOptions(PolicyFields, total=False):
    """What every way to build a chain takes beside its models.

    ``policy`` is a whole :class:`Policy` (else the package's defaults), over which single fields win.
    ``classify`` maps an error to an :class:`ErrorKind` or a :class:`Verdict`. What is ``None`` is the
    package's own, but ``observer=None`` switches the package's default observer off.

    ``check`` is called with each whole answer before it counts. Where it raises, the answer is a
    request-specific failure of that model with reason ``invalid_answer`` (or the reason of a
    :class:`ProviderError` that it raises), whatever ``classify`` says: the next model is asked, nothing is
    retried or benched. What it returns is ignored. It runs where the call runs, on the event loop for
    ``acomplete`` and ``astream``, so keep it short; of the attempts it sees those before the present one. In
    a stream it runs at the end, when content has reached the caller: ``midstream`` says what a refusal does.
    """

    policy: Policy | None
    registry: SpecRegistry | None
    benches: BenchRegistry | None
    clock: Clock | None
    observer: Observer | Sequence[Observer] | None
    log: EventLog | None
    classify: Callable[[BaseException], ErrorKind | Verdict] | None
    check: Check | None


class Chain:
    """Models in the order in which they are asked; policy, defaults and observer are fixed now.

    Args:
        models: Models, chains (spliced in flat: their entries, not their policy, observer or check), texts
            of specs, or None (skipped); or one text of comma-separated specs.
        **options: See :class:`ChainOptions`.

    Raises:
        ChainSpecError: When nothing valid is left, or a spec cannot be read.
        ValueError: When a number of the policy is out of range.
        TypeError: When an option is unknown or of the wrong type.

    >>> chain = Chain("sim/503x3, sim/echo", backoff=lambda attempt: 0.0)
    >>> chain.complete("hello").model
    'sim/echo'
    """

    def __init__(
        self, models: str | Iterable[Model | Chain | str | None], **options: Unpack[ChainOptions]
    ) -> None:
        observer = options.pop("observer", get_failover_observer())
        registry = _or_default(options.pop("registry", None), process_registry)
        benches = _or_default(options.pop("benches", None), process_benches)
        clock = _or_default(options.pop("clock", None), benches.clock)
        log = _or_default(options.pop("log", None), process_log)
        judge, check = options.pop("classify", None), checked_check(options.pop("check", None))
        policy = _or_default(options.pop("policy", None), get_failover_defaults())
        self.policy = _changed(policy, cast("PolicyFields", options))
        self.models = tuple(_flat(models, registry))
        if not self.models:
            raise ChainSpecError(
                f"chain {models!r} has no valid specs: write provider/model, joined by commas"
            )
        self.specs = tuple(model.spec for model in self.models)
        self._setup = Setup(
            label=",".join(self.specs),
            entries=tuple(_entry(position, model) for position, model in enumerate(self.models)),
            policy=self.policy,
            benches=benches,
            clock=clock,
            observers=checked_observers(observer),
            log=log,
            classify=_classifier(judge, clock),
            check=check,
        )
        benches.roster.enlist(self)

    def first_asked(self) -> int | None:
        """The place in ``specs`` of who would be asked first now; ``None`` when no entry has a key."""
        return self._setup.first_asked()

    def complete(self, prompt: Prompt, **given: Unpack[RequestFields]) -> Response:
        """The first answer that the chain gives.

        Args:
            prompt: A str, a list of messages, or a Request.
            **given: Fields of the request: system, temperature, max_tokens, stop, seed, schema, extra.

        Raises:
            AllModelsFailed: When no entry answered.
            DeadlineExceeded: When the policy's deadline passed.
            ProviderError: When a content filter rejected the request and the policy says stop.
        """
        call = self._call(prompt, given, "complete")
        for step in call:
            with step:
                if isinstance(step, Wait):
                    self._setup.clock.sleep(step.seconds)
                else:
                    step.response = step.calls.complete(step.request)
                    step.examine()
        return call.response

    async def acomplete(self, prompt: Prompt, **given: Unpack[RequestFields]) -> Response:
        """:meth:`complete`, awaited."""
        call = self._call(prompt, given, "acomplete")
        for step in call:
            with step:
                if isinstance(step, Wait):
                    await self._setup.clock.asleep(step.seconds)
                else:
                    step.response = await step.calls.acomplete(step.request)
                    step.examine()
        return call.response

    def stream(self, prompt: Prompt, **given: Unpack[RequestFields]) -> Iterator[Chunk]:
        """The answer in chunks, the last of kind ``done`` with the whole ``response``.

        Nothing is sent before the first ``next``. Closing the iterator closes the request on the wire.

        Raises:
            StreamInterrupted: When the model failed after content had been handed on.
            AllModelsFailed, DeadlineExceeded, ProviderError: As :meth:`complete`.
        """
        return self._stream(self._call(prompt, given, "stream"))

    def astream(self, prompt: Prompt, **given: Unpack[RequestFields]) -> AsyncIterator[Chunk]:
        """:meth:`stream`, asynchronous; iterate it under ``contextlib.aclosing`` to leave it early."""
        return self._astream(self._call(prompt, given, "astream"))

    def _stream(self, call: Call) -> Iterator[Chunk]:
        for step in call:
            with step:
                if isinstance(step, Wait):
                    self._setup.clock.sleep(step.seconds)
                    continue
                chunks = step.calls.stream(step.request)
                with _closing(chunks):
                    for chunk in chunks:
                        for accepted in step.accept(chunk):
                            yield accepted
                for accepted in step.finish():
                    yield accepted
        yield call.done()

    async def _astream(self, call: Call) -> AsyncIterator[Chunk]:
        for step in call:
            with step:
                if isinstance(step, Wait):
                    await self._setup.clock.asleep(step.seconds)
                    continue
                chunks = step.calls.astream(step.request)
                async with _aclosing(chunks):
                    async for chunk in chunks:
                        for accepted in step.accept(chunk):
                            call.lend()
                            yield accepted
                            call.resume()
                for accepted in step.finish():
                    call.lend()
                    yield accepted
                    call.resume()
        yield call.done()

    def _call(self, prompt: Prompt, given: RequestFields, method: str) -> Call:
        return Call(self._setup, build_request(prompt, "failover", given), method)

    def close(self) -> None:
        """Let go of the connections that its providers keep for synchronous calls."""
        for provider in {id(m.provider): m.provider for m in self.models}.values():
            if (close := getattr(provider, "close", None)) is not None:
                close()

    async def aclose(self) -> None:
        """Let go of the connections that its providers keep for this event loop, and the synchronous ones."""
        for provider in {id(m.provider): m.provider for m in self.models}.values():
            if (aclose := getattr(provider, "aclose", None)) is not None:
                await aclose()
            elif (close := getattr(provider, "close", None)) is not None:
                close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"Chain({self._setup.label!r})"


class Registry(SpecRegistry):
    """Providers by name, aliases, and specs read into models and chains.

    >>> Registry().parse("sim/503, sim/echo").specs
    ('sim/503', 'sim/echo')
    """

    def parse(self, text: str) -> Model | Chain:
        """A model, or, where the text names several, transparently a chain with the package's defaults.

        Raises:
            ChainSpecError: When the text holds no valid spec.
        """
        specs = self.expand(text)
        return self.model(specs[0]) if len(specs) == 1 else Chain(",".join(specs), registry=self)


process_registry = Registry()
"""The process's own registry."""


def bench_model(spec: str, *, until: datetime | None = None, for_: float | timedelta | None = None) -> None:
    """Bench a model for every chain of the process; see :meth:`BenchRegistry.bench`. Aliases resolve.

    Raises:
        ChainSpecError: When the spec names no model.
        ValueError, TypeError: When the end cannot be read.
    """
    for one in _benchable(spec):
        process_benches.bench(one, until=until, for_=for_)


def unbench_model(spec: str) -> bool:
    """Lift a model's bench; whether there was a live one. See :meth:`BenchRegistry.unbench`."""
    lifted = [process_benches.unbench(one) for one in _benchable(spec)]
    return any(lifted)


def is_benched(spec: str) -> bool:
    """Whether the process has the model benched now."""
    return all(process_benches.is_benched(one) for one in _benchable(spec))


def list_benched() -> list[BenchedModel]:
    """The live benches of the process, by name."""
    return process_benches.list()


def list_running() -> list[RunningCall]:
    """The calls of the process that have begun and have not ended, the oldest first.

    >>> list_running()
    []
    """
    return process_benches.roster.calls()


def cancel_call(call_id: int) -> bool:
    """End a call that runs: its caller gets a ``CancelledError``, nobody else is asked, nothing is benched.

    Args:
        call_id: Its ``id`` in :func:`list_running`.

    Returns:
        Whether there was such a call. One that is not ``reachable`` goes on until its next chunk or attempt.
    """
    return process_benches.roster.cancel(call_id)


def _benchable(spec: str) -> list[str]:
    if not isinstance(spec, str):
        raise TypeError(f"{spec!r} names no model: give its spec, provider/model, as a str")
    if specs := process_registry.expand(spec):
        return specs
    raise ChainSpecError(f"{spec!r} names no model: write provider/model, such as openai/gpt-x")


def parse_chain(specs: str | Iterable[Model | Chain | str | None], **options: Unpack[ChainOptions]) -> Chain:
    """A chain from comma-separated specs, or from a list of them; see :class:`Chain`."""
    return Chain(specs, **options)


def failover_model(models: Iterable[Model | Chain | str | None], **options: Unpack[ChainOptions]) -> Chain:
    """A chain from models: None is skipped, chains are spliced in flat; see :class:`Chain`."""
    return Chain(models, **options)


def _flat(models: str | Iterable[Model | Chain | str | None], registry: SpecRegistry) -> Iterator[Model]:
    for link in [models] if isinstance(models, (str, Model, Chain)) else models:
        match link:
            case None:
                pass
            case str():
                yield from map(registry.model, registry.expand(link))
            case Model():
                yield link
            case Chain():
                yield from link.models
            case _:
                raise TypeError(f"a chain is made of models, chains and specs, not {link!r}")


def _entry(position: int, model: Model) -> Entry:
    provider = model.provider

    def missing_key() -> str | None:
        return cast("str | None", getattr(provider, "missing_key", None))

    def key() -> Hashable | None:
        return cast("Hashable | None", getattr(provider, "key", None))

    # Somebody else's provider may use these names for something of its own.
    dropped, wire = getattr(provider, "dropped", None), getattr(provider, "wire", None)
    return Entry(
        position,
        model.spec,
        model.name,
        model.calls,
        wire=wire if isinstance(wire, str) else "openai",
        missing_key=missing_key,
        key=key,
        dropped=dropped if callable(dropped) else _drops_nothing,
    )


def _drops_nothing(_: Request) -> tuple[str, ...]:
    return ()


def _or_default(given: T | None, default: T) -> T:
    return default if given is None else given


def _changed(policy: Policy, given: PolicyFields) -> Policy:
    known = ChainOptions.__annotations__
    if unknown := [name for name in given if name not in known]:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
        raise TypeError(f"{unknown[0]!r} is no option of a chain; {hint}")
    return replace(policy, **given) if given else policy


def _classifier(judge: Callable[[BaseException], ErrorKind | Verdict] | None, clock: Clock) -> Classify:
    def ours(error: BaseException, wire: str) -> Verdict:
        return classify(error, wire=wire, now=clock.now())

    if judge is None:
        return ours
    if not callable(judge):
        raise TypeError(f"classify={judge!r} is not callable: it takes an error and returns an ErrorKind")
    theirs = judge

    def verdict(error: BaseException, wire: str) -> Verdict:
        judged = theirs(error)
        return judged if isinstance(judged, Verdict) else replace(ours(error, wire), kind=ErrorKind(judged))

    return verdict


def _closing(chunks: Iterator[Chunk]) -> AbstractContextManager[object]:
    return closing(cast("Generator[Chunk]", chunks)) if hasattr(chunks, "close") else nullcontext()


def _aclosing(chunks: AsyncIterator[Chunk]) -> AbstractAsyncContextManager[object]:
    return aclosing(cast("AsyncGenerator[Chunk]", chunks)) if hasattr(chunks, "aclose") else nullcontext()
