"""What a browser may ask of a panel, checked. Messages are somebody else's data; nothing is carried out here.

Each message has ``protocol``, ``id``, ``command`` and the command's own fields; ``edited`` is the version of
the row that the user saw. What does not fit is refused in words, and nothing of it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.notebook.board import PROTOCOL, moment_of

__all__ = [
    "Bench",
    "Cancel",
    "Edit",
    "Extend",
    "Hello",
    "Lift",
    "LiftAll",
    "Message",
    "MessageRefused",
    "SetChain",
    "SetDefault",
    "SetDefaults",
    "TakeBack",
    "read_message",
]

_LONGEST_TEXT = 1_000
_LONGEST_CHAIN = 1_000
_LONGEST_ID = 64
_LAST_MOMENT = 253_000_000_000_000  # of the year 9987: calendars end with 9999

# A bench of ten years is as good as one until lifted; a typing error of one is not meant.
_LONGEST_BENCH = 10 * 366 * 86_400.0


class MessageRefused(FailoverError, ValueError):
    """A message that is none of the known ones; the message says what of it."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A view is there, and wants to know the kernel's time."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Bench for ``for_`` seconds, or until a moment; with neither, until lifted."""

    spec: str
    for_: float | None
    until: datetime | None
    edited: str


@dataclass(frozen=True, slots=True)
class Extend:
    """Let a bench end ``for_`` seconds later."""

    spec: str
    for_: float
    edited: str


@dataclass(frozen=True, slots=True)
class Lift:
    """Lift a bench."""

    spec: str
    edited: str


@dataclass(frozen=True, slots=True)
class LiftAll:
    """Lift every bench."""


@dataclass(frozen=True, slots=True)
class SetChain:
    """Give a chain these entries; the name ``""`` is the default chain that has none."""

    name: str
    specs: tuple[str, ...]
    edited: str


@dataclass(frozen=True, slots=True)
class SetDefault:
    """Let cells that name no chain ask this one."""

    name: str
    edited: str


@dataclass(frozen=True, slots=True)
class SetDefaults:
    """Change the policy's defaults; ``None`` stays as it is."""

    cooldown: float | None
    max_retries: int | None
    edited: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """End a call that runs."""

    call: int


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Take back the last edit."""

    edit: int


Edit: TypeAlias = (
    Hello | Bench | Extend | Lift | LiftAll | SetChain | SetDefault | SetDefaults | Cancel | TakeBack
)


@dataclass(frozen=True, slots=True)
class Message:
    """An edit, and the name by which the view knows it."""

    id: str
    edit: Edit


def message_id(content: object) -> str:
    """The name of a message, as far as it has one that can be sent back."""
    name = content.get("id") if isinstance(content, Mapping) else None
    # Half of a surrogate pair, which a browser can send, could not be sent back.
    return name if isinstance(name, str) and len(name) <= _LONGEST_ID and name.isascii() else ""


def read_message(content: object) -> Message:
    """What a message asks for.

    Args:
        content: As it came from the browser.

    Raises:
        MessageRefused: When anything about it is not as it should be.
    """
    if not isinstance(content, Mapping):
        raise MessageRefused(f"a message is a table of fields, not {type(content).__name__}")
    fields = _Fields(content)
    if fields.whole("protocol") != PROTOCOL:
        raise MessageRefused("this page and the package are of different versions: reload the page")
    name = fields.text("id", longest=_LONGEST_ID)
    if name != message_id(content):
        raise MessageRefused(f"id is {_shown(name)}, and should be of ASCII characters")
    command = fields.text("command", longest=_LONGEST_ID)
    if command not in _COMMANDS:
        raise MessageRefused(f"{command!r} is no command of a panel")
    edit = _COMMANDS[command](fields)
    fields.all_used(command)
    return Message(name, edit)


class _Fields:
    """The fields of one message, each read once and checked."""

    def __init__(self, content: Mapping[object, object]) -> None:
        self._content = content
        self._used: set[object] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def all_used(self, command: str) -> None:
        if others := [name for name in self._content if name not in self._used]:
            raise MessageRefused(f"{_shown(others[0])} is no field of {command}")

    def text(self, name: str, *, longest: int = _LONGEST_TEXT) -> str:
        return self._short(name, self._taken(name), longest)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._taken(name)
        if not isinstance(value, list):
            raise MessageRefused(f"{name} is {_shown(value)}, and should be a list of texts")
        if len(value) > _LONGEST_CHAIN:
            raise MessageRefused(f"{name} has {len(value)} entries, which is more than {_LONGEST_CHAIN}")
        return tuple(self._short(name, item, _LONGEST_TEXT) for item in value)

    def whole(self, name: str) -> int:
        value = self._taken(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
            raise MessageRefused(f"{name} is {_shown(value)}, and should be a whole number")
        return value

    def bench_seconds(self, name: str) -> float:
        seconds = self.seconds(name)
        if not seconds:
            raise MessageRefused(f"{name} is 0, which benches nothing: give a number of seconds above 0")
        return seconds

    def seconds(self, name: str, *, longest: float = _LONGEST_BENCH) -> float:
        value = self._taken(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise MessageRefused(f"{name} is {_shown(value)}, and should be a number of seconds")
        if not 0 <= value <= longest:
            raise MessageRefused(f"{name} is {_shown(value)}, and should be from 0 to {longest:,.0f} seconds")
        return float(value)

    def moment(self, name: str) -> datetime:
        return moment_of(min(self.whole(name), _LAST_MOMENT))

    def none(self, name: str) -> bool:
        """Whether a field is there and empty."""
        if name in self._content and self._content[name] is None:
            self._used.add(name)
            return True
        return False

    def _taken(self, name: str) -> object:
        self._used.add(name)
        if name not in self._content:
            raise MessageRefused(f"{name} is missing")
        return self._content[name]

    def _short(self, name: str, value: object, longest: int) -> str:
        if not isinstance(value, str):
            raise MessageRefused(f"{name} is {_shown(value)}, and should be a text")
        if len(value) > longest:
            raise MessageRefused(f"{name} has {len(value):,} characters, which is more than {longest:,}")
        return value


def _shown(value: object) -> str:
    """A value in a message, cut: it may be anything, of any size."""
    if isinstance(value, (str, int, float)) or value is None:
        text = repr(value[:60]) if isinstance(value, str) else repr(value)
        return text if len(text) <= 80 else f"{text[:79]}…"
    return type(value).__name__


def _bench(fields: _Fields) -> Bench:
    spec, edited = fields.text("spec"), fields.text("edited")
    if "until" in fields:
        return Bench(spec, None, fields.moment("until"), edited)
    return Bench(spec, None if fields.none("for") else fields.bench_seconds("for"), None, edited)


def _set_defaults(fields: _Fields) -> SetDefaults:
    cooldown = fields.seconds("cooldown") if "cooldown" in fields else None
    max_retries = fields.whole("max_retries") if "max_retries" in fields else None
    return SetDefaults(cooldown, max_retries, fields.text("edited"))


_COMMANDS: Mapping[str, Callable[[_Fields], Edit]] = {
    "hello": lambda _: Hello(),
    "bench": _bench,
    "extend": lambda fields: Extend(fields.text("spec"), fields.bench_seconds("for"), fields.text("edited")),
    "lift": lambda fields: Lift(fields.text("spec"), fields.text("edited")),
    "lift_all": lambda _: LiftAll(),
    "chain": lambda fields: SetChain(fields.text("name"), fields.texts("specs"), fields.text("edited")),
    "default": lambda fields: SetDefault(fields.text("name"), fields.text("edited")),
    "defaults": _set_defaults,
    "cancel": lambda fields: Cancel(fields.whole("call")),
    "undo": lambda fields: TakeBack(fields.whole("edit")),
}
