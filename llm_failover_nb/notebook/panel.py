"""The panel: one widget that shows the board and sends edits back, and a snapshot that a notebook keeps.

What it shows and what an edit does is `desk.py`'s, how it looks `panel.js`'s and `panel.css`'s.
"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.getipython import get_ipython
from IPython.display import display

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError(
        "the panel needs anywidget, which is not installed: run  pip install 'llm-failover-nb[panel]'"
    ) from error

from llm_failover_nb.engine.bench import process_benches
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.events import process_log
from llm_failover_nb.notebook.board import milliseconds
from llm_failover_nb.notebook.desk import Desk
from llm_failover_nb.notebook.edits import Hello, message_id, read_message
from llm_failover_nb.notebook.magic import state_of
from llm_failover_nb.notebook.publisher import Publisher
from llm_failover_nb.notebook.render.board import board_text
from llm_failover_nb.notebook.render.page import one_line
from llm_failover_nb.notebook.snapshot import Snapshot
from llm_failover_nb.notebook.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["Panel", "panel", "panel_of"]

logger = logging.getLogger("llm_failover_nb")


class Panel(anywidget.AnyWidget):
    """The control room of a notebook: models, benches, chains, calls that run, and the last decisions.

    It is live while the kernel is; each display of it, and each layout that holds it, shows the same. Below
    it stands a plain snapshot, hidden while the panel is live, for readers of the saved notebook.

    Args:
        desk: What it shows and edits.
    """

    _esm = Path(__file__).with_name("panel.js")
    _css = Path(__file__).with_name("panel.css")

    board = traitlets.Dict().tag(sync=True)

    def __init__(self, desk: Desk) -> None:
        super().__init__(board=dict(desk.board()))
        self._desk = desk
        shell = get_ipython()
        self._snapshot = None if shell is None else Snapshot(shell, process_benches.clock)
        self._publisher = Publisher(self._publish)
        self.on_msg(self._received)
        wake = self._publisher.wake
        self._listening = (
            process_log.listen(wake),
            process_benches.roster.listeners.add(wake),
        )

    def refresh(self) -> None:
        """Look at everything anew: something may have changed of which nobody tells."""
        self._desk.look_again()
        self._publisher.wake()

    def settle(self) -> None:
        """A cell has ended: what it leaves is in the notebook before the kernel may go."""
        self.refresh()
        if self._snapshot is not None:
            # What goes wrong is no part of the cell: the publisher meets it, too, and shows it in the panel.
            with contextlib.suppress(Exception):
                self._snapshot.update(self._desk.board(), at_once=True)

    def close(self) -> None:
        """Take the panel away, everywhere it is shown."""
        for stop in self._listening:
            stop()
        self._publisher.close()
        super().close()

    def set_state(self, sync_data: Mapping[str, object]) -> None:
        """Take no state from a browser: what it wants it says in messages, which are checked."""

    def _received(self, _: object, content: object, __: object) -> None:
        self.send({"id": message_id(content), **self._answer(content)})
        self._publisher.wake()

    def _answer(self, content: object) -> dict[str, object]:
        try:
            edit = read_message(content).edit
            if isinstance(edit, Hello):
                return {"outcome": "here", "now": self._now(), "kernel": self._desk.kernel}
            text, self._desk.trouble = self._desk.carry_out(edit), ""
        except (FailoverError, ValueError) as error:
            return {"outcome": "refused", "text": one_line(str(error))}
        except Exception as error:
            # The front end drops what a callback raises.
            logger.exception("an edit of the panel failed")
            self._desk.trouble = f"an edit failed in the panel itself: {type(error).__name__}: {error}"
            return {"outcome": "refused", "text": one_line(self._desk.trouble)}
        return {"outcome": "done", "text": text}

    @staticmethod
    def _now() -> int:
        return milliseconds(process_benches.clock.now())

    # Publishing, on the publisher's thread

    def _publish(self) -> float | None:
        try:
            board = self._desk.board()
        except Exception as error:
            logger.exception("a panel could not be brought up to date")
            trouble = one_line(f"this is not up to date: {type(error).__name__}: {error}")
            self.board = {**self.board, "trouble": trouble}
            return None
        if board != self.board:
            self.board = dict(board)
        return None if self._snapshot is None else self._snapshot.update(board)

    # Showing

    def __repr__(self) -> str:
        return "<the panel of llm_failover_nb>"

    def _ipython_display_(self) -> None:
        if self.comm is None:
            print("this panel is closed: llm_failover_nb.panel() gives another")
            return
        board, shell = self._desk.board(), get_ipython()
        if self._snapshot is None or getattr(shell, "kernel", None) is None:
            print(board_text(board))  # a terminal has no widgets
            return
        data = self._repr_mimebundle_()
        display(data[0] if isinstance(data, tuple) else data, raw=True)  # type: ignore[no-untyped-call]  # IPython's
        self._snapshot.show(board)
        self._publisher.wake()


def panel() -> Panel:
    """The notebook's panel: which models are benched, and buttons to change it while the notebook works.

    It shows every model that a chain of this process names or a bench knows, the chains in their order, the
    calls that run, and the last decisions in words. Benching a model lets an awaited call that waits for it,
    a ``%%llm`` cell among them, go on to the next. ``%llm panel`` shows the same one; it can stand in
    ipywidgets layouts. In a notebook it loads the magics where they are not.

    A click takes effect while a cell waits where cells are awaited (ipykernel 7.4 and later); elsewhere it is
    marked pending, and done once the cell has ended.

    Raises:
        ImportError: When anywidget is not installed.

    ::

        llm_failover_nb.panel()
        VBox([llm_failover_nb.panel(), my_plot])
    """
    shell = get_ipython()
    return panel_of(State() if shell is None else _state_of_magics(shell))


def _state_of_magics(shell: InteractiveShell) -> State:
    """What the panel edits is what the magics go by; and there is one panel, whoever asks for it."""
    state = state_of(shell)
    if state is None and shell.extension_manager is not None:
        shell.extension_manager.load_extension("llm_failover_nb")
        state = state_of(shell)
    return state if state is not None else State()


def panel_of(state: State) -> Panel:
    """The panel of a notebook that has this state: the one that is there, or a new one."""
    if state.panel is None or state.panel.comm is None:
        state.panel = Panel(Desk(state))
    return state.panel
