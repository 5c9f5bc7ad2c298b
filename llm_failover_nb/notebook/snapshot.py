"""The plain output that stands beside a panel and is kept current, for readers of the saved notebook.

A widget is nothing without its kernel; this is HTML, which every viewer shows. What it says is
`render/board.py`'s.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from llm_failover_nb.engine.clock import Clock
from llm_failover_nb.engine.locks import new_rlock
from llm_failover_nb.notebook.board import Board
from llm_failover_nb.notebook.live import bundle
from llm_failover_nb.notebook.render.board import board_html, board_text

__all__ = ["Snapshot"]

# Each update makes the notebook one with unsaved changes.
_SECONDS = 2.0

# What changes all the time, and goes with the next update.
_PASSING = {"now", "revision", "running"}


class Snapshot:
    """One output, shown as often as the panel is.

    Args:
        shell: Where it is shown.
        clock: Measures the time between two updates.
    """

    def __init__(self, shell: InteractiveShell, clock: Clock) -> None:
        self._shell = shell
        self._clock = clock
        self._id = f"llm-failover-{uuid.uuid4().hex}"
        self._shown: Mapping[str, object] | None = None
        self._at = 0.0
        self._lock = new_rlock()  # the publisher's thread and the end of a cell meet here

    def show(self, board: Board) -> None:
        """Show it below what the cell has shown so far."""
        with self._lock:
            self._note(board)
            self._display(board)

    def update(self, board: Board, *, at_once: bool = False) -> float | None:
        """Bring it up to date where it is shown, if it is time to.

        Args:
            board: How everything stands.
            at_once: It is time: the notebook has changed anyway.

        Returns:
            Seconds after which to try again; ``None`` when it is as it should be.
        """
        with self._lock:
            return self._updated(board, at_once=at_once)

    def _updated(self, board: Board, *, at_once: bool) -> float | None:
        if self._shown is None or self._shown == _lasting(board):
            return None
        left = self._at + _SECONDS - self._clock.monotonic()
        if left > 0 and not at_once:
            return left
        if isinstance(self._shell.display_pub, CapturingDisplayPublisher):
            return _SECONDS  # a cell keeps its outputs for itself just now, and this is none of them
        self._note(board)
        self._display(board, update=True)
        return None

    def _display(self, board: Board, *, update: bool = False) -> None:
        data = bundle(board_html(board), board_text(board))
        display(data, raw=True, display_id=self._id, update=update)  # type: ignore[no-untyped-call]  # IPython's

    def _note(self, board: Board) -> None:
        self._shown, self._at = _lasting(board), self._clock.monotonic()


def _lasting(board: Board) -> Mapping[str, object]:
    return {name: value for name, value in board.items() if name not in _PASSING}
