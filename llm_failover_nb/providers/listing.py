"""A provider's own list of its models: what asks for a page of it, and which names in it can be used.

Pure, and the same for every wire: no I/O, and no member of a wire is named here but those that the openai
wire's speakers share. Names in a list are a server's, and may be anything: what could not stand in a chain,
or could not be shown, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from urllib.parse import quote

from llm_failover_nb.engine.secret import redact
from llm_failover_nb.providers.answers import Json, body_text, decode, malformed

__all__ = [
    "LIST_LIMIT",
    "MOST_NAMES",
    "MOST_PAGES",
    "ModelsPage",
    "ModelsQuery",
    "next_mark",
    "objects_in",
    "usable_names",
]

LIST_LIMIT = 8 * 1024 * 1024
"""Bytes that one page of a list may have; the longest known, with prices and descriptions, has one or two."""

MOST_PAGES = 8
"""Pages that are asked for, a thousand names each where the wire has pages at all."""

MOST_NAMES = 5_000
"""Names that are kept of a list; more than anyone looks through."""

_LONGEST_NAME = 200  # characters; the longest in use have half of that
_LONGEST_MARK = 1_000  # characters of what says where the next page begins
_MOST_LOOKED_AT = 10 * MOST_NAMES  # so that a list without an end has one

# What would end a name in a chain or in the line of a magic: comma, quotes, backslash. Blanks, control
# characters and those that change the direction of a text are not printable, or are looked for by themselves.
_BREAKS = re.compile(r"[\s,\"'`\\]")


@dataclass(frozen=True, slots=True)
class ModelsQuery:
    """What asks for one page.

    Args:
        path: The path with its query, below the base URL.
        from_root: The path is not below the base URL, but from the root of the same host.
    """

    path: str
    from_root: bool = False


@dataclass(frozen=True, slots=True)
class ModelsPage:
    """One page of a list.

    Args:
        names: Bare names of models, as a request gives them.
        after: What to ask the next page with; empty where this is the last.
    """

    names: tuple[str, ...] = ()
    after: str = ""


def next_mark(value: object) -> str:
    """What the next page is asked with, as it stands in a query; empty for what is no such thing."""
    if not isinstance(value, str) or len(value) > _LONGEST_MARK:
        return ""
    return quote(value, safe="", errors="replace")


def usable_names(names: Iterable[object]) -> tuple[str, ...]:
    """The names that can be written into a chain, each once, in their order, at most ``MOST_NAMES``.

    >>> usable_names(["gpt-x", "a,b", "two words", "gpt-x", 7, ""])
    ('gpt-x',)
    """
    found = dict.fromkeys(name for name in islice(names, _MOST_LOOKED_AT) if _is_usable(name))
    return tuple(str(name) for name in islice(found, MOST_NAMES))


def _is_usable(name: object) -> bool:
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        return False
    # A key that a server sends back would be shown in a list of completions.
    return name.isprintable() and _BREAKS.search(name) is None and redact(name) == name


def objects_in(body: bytes, member: str) -> tuple[Json, Iterator[Json]]:
    """A page as JSON, and the objects in its list: the member of that name, or all of it.

    A page of another shape has no objects.

    Raises:
        ProviderError: When the body is no JSON (``malformed``).
    """
    text = body_text(body)
    try:
        page = decode(text)
    except (ValueError, RecursionError):
        raise malformed(text, "a list of models was expected, and this is no JSON") from None
    listed = page.get(member) if isinstance(page, dict) else page
    objects = listed if isinstance(listed, list) else []
    return page if isinstance(page, dict) else {}, (one for one in objects if isinstance(one, dict))
