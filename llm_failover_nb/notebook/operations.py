"""What an operator changes: benches, chains, the defaults, running calls; and how each change is taken back.

``%llm`` and the panel come through here, and it asks the same engine as everybody. It shows nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from llm_failover_nb.engine.bench import BenchMemory, process_benches
from llm_failover_nb.engine.chain import cancel_call, list_running, parse_chain, process_registry
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.policy import Policy, get_failover_defaults, set_failover_defaults
from llm_failover_nb.notebook.arguments import nearest
from llm_failover_nb.notebook.render.words import bench_words, counted, duration
from llm_failover_nb.notebook.state import State, policy_of

__all__ = ["Done", "OperationRefused", "Operations", "defaults_version", "version_of"]


_CHANGED = ": changed again since, which stays"


class OperationRefused(FailoverError, ValueError):
    """Nothing was changed; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Done:
    """A change that was made.

    Args:
        text: How things stand now, in words.
        name: What the change was, for somebody who may want to take it back.
        undo: Takes it back; raises :class:`OperationRefused` where that is no longer right. ``None`` for what
            cannot be taken back.
    """

    text: str
    name: str = ""
    undo: Callable[[], str] | None = None


class Operations:
    """The changes of one notebook.

    Args:
        state: Its settings and what it has set.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    # Benches

    def bench(
        self, specs: Sequence[str], *, for_: float | None = None, until: datetime | None = None
    ) -> Done:
        """Bench models for ``for_`` seconds, until a moment, or until lifted.

        Raises:
            ValueError: When the end cannot be read.
        """
        memories = [process_benches.remembered(spec) for spec in specs]
        for spec in specs:
            process_benches.bench(spec, for_=for_, until=until)
        return Done(self._standing_words(specs), f"bench {', '.join(specs)}", _putting_back(memories))

    def extend(self, spec: str, seconds: float) -> Done:
        """Let a bench end ``seconds`` later than it would; it is the operator's from then on.

        Raises:
            OperationRefused: When the model is not benched, or until lifted, or no date is that late.
        """
        bench = next((bench for bench in process_benches.list() if bench.model == spec), None)
        if bench is None:
            raise OperationRefused(f"{spec} is not benched any more: bench it anew")
        if bench.until is None:
            raise OperationRefused(f"{spec} is benched until lifted, which is long enough")
        memory = process_benches.remembered(spec)
        try:
            until = bench.until + timedelta(seconds=seconds)
        except OverflowError:
            raise OperationRefused(f"no calendar goes that far: bench {spec} until lifted") from None
        process_benches.bench(spec, until=until)
        return Done(
            self._standing_words([spec]), f"extend {spec} by {duration(seconds)}", _putting_back([memory])
        )

    def lift(self, specs: Sequence[str]) -> Done:
        """Lift benches; models that have none stay as they are."""
        memories = [process_benches.remembered(spec) for spec in specs]
        lifted = [memory for memory in memories if process_benches.unbench(memory.model)]
        if not lifted:
            return Done(f"{', '.join(specs)} {'was' if len(specs) == 1 else 'were'} not benched")
        names = ", ".join(memory.model for memory in lifted)
        said = names if len(lifted) <= 3 else counted(len(lifted), "model")
        return Done(
            f"{said} {'is' if len(lifted) == 1 else 'are'} no longer benched",
            f"lift {said}",
            _putting_back(lifted),
        )

    def lift_all(self) -> Done:
        """Lift every bench that stands."""
        specs = [bench.model for bench in process_benches.list()]
        return self.lift(specs) if specs else Done("no model is benched")

    def _standing_words(self, specs: Sequence[str]) -> str:
        now = process_benches.clock.now()
        laid = {bench.model: bench for bench in process_benches.list()}
        return "; ".join(
            f"{spec} is {bench_words(laid[spec], now)}"
            if spec in laid
            else f"{spec} is not benched: that time is over"
            for spec in specs
        )

    # Chains

    def name_chain(self, name: str, specs: str) -> Done:
        """Let ``name`` stand for a chain in this notebook.

        Raises:
            FailoverError: When the specs make no chain, or one within itself.
        """
        expanded = process_registry.expand(specs, within=name)
        said = ", ".join(parse_chain(expanded).specs)
        put_back = self._putting_back_name(name)
        restore = self._set({f"chains.{name}": specs})
        process_registry.alias(name, specs)

        def undo() -> str:
            if process_registry.own_alias(name) != specs:
                raise OperationRefused(f"{name}{_CHANGED}")
            said = restore()
            put_back()
            return said

        return Done(f"{name} is {said}", f"change {name}", undo)

    def forget_chain(self, name: str) -> Done:
        """Take back a name that this notebook has given.

        Raises:
            OperationRefused: When it has given no such name.
        """
        chains = self._state.session.values
        if f"chains.{name}" not in chains:
            known = [key.removeprefix("chains.") for key in chains if key.startswith("chains.")]
            near = nearest(name, known)
            hint = f"; did you mean {near}?" if near else ""
            raise OperationRefused(f"{name!r} is no chain that this notebook has named{hint}")
        self._state.session.unset(f"chains.{name}")
        process_registry.unalias(name)
        return Done(f"{name} is forgotten here")

    def default_chain(self, specs: str) -> Done:
        """Let cells that name no chain ask this one: specs, or a chain's name.

        Raises:
            FailoverError: When they make no chain.
        """
        chain = parse_chain(specs)
        undo = self._set({"chain": specs})
        return Done(
            f"cells that name no chain ask {', '.join(chain.specs)}", "change the default chain", undo
        )

    @staticmethod
    def _putting_back_name(name: str) -> Callable[[], None]:
        """What lets a name stand for what it stands for now; a settings file's it leaves to the file."""
        before = process_registry.own_alias(name)

        def put_back() -> None:
            if before is None:
                process_registry.unalias(name)
            else:
                process_registry.alias(name, before)

        return put_back

    def _set(self, values: Mapping[str, object]) -> Callable[[], str]:
        """Set values of the notebook; what takes that back, as long as they are what was set."""
        session = self._state.session
        before = {name: session.values.get(name) for name in values}
        for name, value in values.items():
            session.set(name, value)

        def restore() -> str:
            if changed := [name for name, value in values.items() if session.values.get(name) != value]:
                raise OperationRefused(f"{', '.join(changed)}{_CHANGED}")
            for name, value in before.items():
                if value is None:
                    session.unset(name)
                else:
                    session.set(name, value)
            return "taken back"

        return restore

    # Defaults, calls

    def defaults(self, *, cooldown: float | None = None, max_retries: int | None = None) -> Done:
        """Change the defaults, of cells and of chains that Python builds from now on.

        Args:
            cooldown: Seconds of an automatic bench.
            max_retries: Attempts on one model.

        Raises:
            ValueError: When a number is out of range.
        """
        given = {"cooldown": cooldown, "max_retries": max_retries}
        changes = {name: value for name, value in given.items() if value is not None}
        before = {name: getattr(get_failover_defaults(), name) for name in changes}
        set_failover_defaults(**changes)
        # %llm config comes before the package's defaults; and a file before one that is as it ever was.
        policy = policy_of(self._state.settings())
        hidden = {name: value for name, value in changes.items() if getattr(policy, name) != value}
        restore = self._set({f"policy.{name}": value for name, value in hidden.items()})

        def undo() -> str:
            now = get_failover_defaults()
            if any(getattr(now, name) != value for name, value in changes.items()):
                raise OperationRefused(f"the defaults{_CHANGED}")
            said = restore()
            set_failover_defaults(**before)
            return said

        return Done(self._defaults_words(), "change the defaults", undo)

    def _defaults_words(self) -> str:
        policy = policy_of(self._state.settings())
        return (
            f"a model that fails is benched for {duration(policy.cooldown)} "
            f"after {counted(policy.max_retries, 'attempt')}"
        )

    def cancel(self, call: int) -> Done:
        """End a call that runs: nobody else is asked, nothing is benched.

        Raises:
            OperationRefused: When it has ended.
        """
        running = next((each for each in list_running() if each.id == call), None)
        if running is None or not cancel_call(call):
            raise OperationRefused("that call has ended already")
        if running.reachable:
            return Done(f"the call to {running.model} is cancelled")
        return Done(
            f"the call to {running.model} was told to stop: it waits in a thread, and ends before its next "
            "attempt or chunk; interrupting the kernel ends a cell at once"
        )


def version_of(specs: Sequence[str]) -> str:
    """The version of a chain: another order or another entry is another one."""
    return hashlib.blake2s("\n".join(specs).encode(), digest_size=6).hexdigest()


def defaults_version(policy: Policy) -> str:
    """The version of the defaults that an operator sees."""
    return f"{policy.cooldown:g}/{policy.max_retries}"


def _putting_back(memories: Sequence[BenchMemory]) -> Callable[[], str]:
    edited = {memory.model: process_benches.remembered(memory.model).edited for memory in memories}

    def undo() -> str:
        kept = [m.model for m in memories if not process_benches.put_back(m, edited=edited[m.model])]
        since = f"{', '.join(kept)}: benched or lifted again since, which stays"
        if len(kept) == len(memories):
            raise OperationRefused(since)
        return f"taken back, but {since}" if kept else "taken back"

    return undo
