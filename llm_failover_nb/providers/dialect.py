"""What HTTP asks of a wire: the two Protocols between the I/O and the dialects. No I/O, no wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_failover_nb.engine.errors import ProviderError
    from llm_failover_nb.engine.types import Chunk, Request, Response
    from llm_failover_nb.providers.listing import ModelsPage, ModelsQuery

__all__ = ["Dialect", "StreamReader"]


class StreamReader(Protocol):
    """Turns the bytes of one stream into chunks. It never raises before ``end``."""

    @property
    def complete(self) -> bool:
        """The answer is whole; a connection that breaks now does no harm."""
        ...

    @property
    def finished(self) -> bool:
        """Nothing more is worth reading."""
        ...

    def feed(self, data: bytes, /) -> list[Chunk]: ...

    def end(self) -> list[Chunk]:
        """What is left, the ``done`` chunk last; raises ProviderError where the stream failed."""
        ...


class Dialect(Protocol):
    """A wire, as the I/O sees it; all of it pure."""

    @property
    def wire(self) -> str:
        """Its name, by which ``engine.classify`` knows the failures that come over it."""
        ...

    def auth(self, key: str) -> Mapping[str, str]:
        """The headers that carry the key."""
        ...

    def encode(self, request: Request, *, stream: bool) -> tuple[str, bytes]:
        """The path below the base URL, with its query if any, and the JSON body."""
        ...

    def dropped(self, request: Request) -> tuple[str, ...]:
        """The names of the request's fields that the wire cannot take, and ``encode`` leaves out."""
        ...

    def response(self, body: bytes) -> Response: ...
    def reader(self) -> StreamReader: ...
    def failure(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError: ...

    def models_query(self, after: str = "") -> ModelsQuery | None:
        """What asks for the list of models, by GET; ``None`` where there is none of models to ask.

        Args:
            after: The page before, by its ``after``; empty for the first.
        """
        ...

    def models_page(self, body: bytes) -> ModelsPage:
        """One page of the list; raises ProviderError where the body is no JSON, and nothing else."""
        ...
