"""What providers share: the other half of their calls, a key that may be missing, an end. No wire, no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from llm_failover_nb.engine.portal import AsyncFromSync, SyncFromAsync
from llm_failover_nb.engine.timekeeper import Timed
from llm_failover_nb.engine.types import AsyncProvider, Chunk, Request, Response

if TYPE_CHECKING:
    from llm_failover_nb.engine.secret import Secret

__all__ = ["BaseProvider"]

_SYNC, _ASYNC = ("complete", "stream"), ("acomplete", "astream")


class BaseProvider:
    """A provider that writes one pair of calls and is given the other.

    Write ``complete`` and ``stream``, and the asynchronous pair runs them in threads; write
    ``acomplete`` and ``astream``, and the synchronous pair runs them on the background loop.

    Raises:
        TypeError: When a subclass writes neither pair.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not any(all(_written(cls, name) for name in pair) for pair in (_SYNC, _ASYNC)):
            raise TypeError(
                f"{cls.__name__} needs a pair of calls: complete and stream, or acomplete and astream"
            )

    @property
    def missing_key(self) -> str | None:
        """The variable to set before this provider can be asked; ``None`` when nothing is missing."""
        return None

    @property
    def key(self) -> Secret | None:
        """The key that would be sent now: entries of a chain that share a dead one are benched together."""
        return None

    wire = "openai"
    """The dialect in which its failures come, for ``classify``."""

    def dropped(self, request: Request, /) -> tuple[str, ...]:  # noqa: ARG002  # for those that drop some
        """The names of the request's fields that the model cannot take, and that are left out."""
        return ()

    def models(self) -> tuple[str, ...]:
        """The bare names of the models there are, as far as the provider can tell; ``()`` where it cannot.

        One that has to ask elsewhere may take seconds, and raises ProviderError where it gets no answer.
        """
        return ()

    lists_at_once = False
    """Whether ``models`` tells what this process knows already, and asks nobody."""

    keeps_time = False
    """Whether its asynchronous calls hold to ``request.timeouts`` themselves."""

    def complete(self, request: Request, /) -> Response:
        return SyncFromAsync(self._timed()).complete(request)

    def stream(self, request: Request, /) -> Iterator[Chunk]:
        return SyncFromAsync(self._timed()).stream(request)

    def _timed(self) -> AsyncProvider:
        return self if self.keeps_time else Timed(self)

    async def acomplete(self, request: Request, /) -> Response:
        return await AsyncFromSync(self).acomplete(request)

    def astream(self, request: Request, /) -> AsyncIterator[Chunk]:
        return AsyncFromSync(self).astream(request)

    def close(self) -> None:
        """Let go of what synchronous calls and this process hold: connections, children."""

    async def aclose(self) -> None:
        """Let go of what the running loop holds; synchronous resources too."""
        self.close()


def _written(cls: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(BaseProvider, name)
