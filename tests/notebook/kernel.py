"""A real kernel, driven by nbclient a cell at a time, for tests of what a notebook sees."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import nbformat
import zmq
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.session import Session
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

__all__ = ["Cell", "Kernel", "client"]

_ARGUMENTS = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


class _ThisInterpreter(KernelSpecManager):
    """Knows one kernel: this interpreter's own, whatever is installed for the user."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(argv=_ARGUMENTS, display_name=kernel_name, language="python")


class _Manager(AsyncKernelManager):
    """Starts that one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(kernel_spec_manager=_ThisInterpreter(), **options)


def client(*sources: str, **options: Any) -> NotebookClient:
    """A client for a notebook of these cells, on a kernel of its own."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    # The client owns what it makes from a class, and closes it.
    return NotebookClient(notebook, kernel_manager_class=_Manager, kernel_name="this", timeout=60, **options)


@dataclass(frozen=True)
class Cell:
    """A cell after its run: its outputs, as they would be saved, and every message that made them."""

    outputs: list[Any]
    messages: list[dict[str, Any]] = field(repr=False)

    @property
    def kinds(self) -> list[str]:
        return [output["output_type"] for output in self.outputs]

    @property
    def html(self) -> str:
        """The HTML of all outputs."""
        return "".join(output.get("data", {}).get("text/html", "") for output in self.outputs)

    @property
    def text(self) -> str:
        """The plain text of all outputs but errors."""
        return "".join(
            output.get("text") or output.get("data", {}).get("text/plain", "") for output in self.outputs
        )

    @property
    def error(self) -> str:
        """The error output's traceback, or nothing."""
        return "\n".join(line for output in self.outputs for line in output.get("traceback", ()))

    @property
    def said(self) -> str:
        """All that a terminal would show: the plain text, then the error."""
        return self.text + (f"{self.error}\n" if self.error else "")

    @property
    def error_name(self) -> str:
        return "".join(output.get("ename", "") for output in self.outputs)


_OUTPUTS = {"display_data", "execute_result", "stream", "error"}


def _is_idle(message: dict[str, Any]) -> bool:
    return message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"


class Kernel:
    """One kernel with the magics loaded; cells run in it one after another, and may fail."""

    def __init__(self) -> None:
        self._client = client(allow_errors=True)
        self._messages: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._running = self._client.setup_kernel()
        self._running.__enter__()
        listen = self._client.process_message

        def record(message: dict[str, Any], *others: Any) -> Any:
            self._messages.append(message)
            return listen(message, *others)

        self._client.process_message = record  # type: ignore[method-assign]  # to see updates, too
        self._pid = int(self.run("import os; os.getpid()").text)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.__exit__(kind, error, traceback)

    def run(self, source: str, *, attended: bool = True) -> Cell:
        """Run a cell.

        Args:
            source: All of it.
            attended: Whether as for somebody who sees it, or as a program runs a notebook. Nobody answers
                either way: an attended cell that asks for input waits for ever.
        """
        assert self._client.kc is not None
        self._client.kc.allow_stdin = attended
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        self._messages = []
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1, store_history=True)
        return Cell(cell.outputs, self._messages)

    def run_all(self, *sources: str) -> list[Cell]:
        """Run cells as Run All does: all are queued at the kernel before the first has ended."""
        client = self._client.kc
        assert client is not None
        client.allow_stdin = True
        sent = [client.execute(source, stop_on_error=True) for source in sources]
        messages: dict[str, list[dict[str, Any]]] = {number: [] for number in sent}
        for number in sent:
            messages[number].append(run_sync(client._async_recv_reply)(number, timeout=60))
        while not all(any(_is_idle(m) for m in of_cell) for of_cell in messages.values()):
            message = run_sync(client.get_iopub_msg)(timeout=60)
            messages.get(message["parent_header"].get("msg_id", ""), []).append(message)
        return [
            Cell([nbformat.v4.output_from_msg(m) for m in of_cell if m["msg_type"] in _OUTPUTS], of_cell)
            for of_cell in messages.values()
        ]

    def value(self, expression: str) -> str:
        """The repr of an expression."""
        return self.run(expression).text

    def complete(self, source: str, cursor: int | None = None, *, beside: bool = False) -> dict[str, str]:
        """What the kernel offers at ``cursor``, else at the end: text and type, in its order.

        Args:
            source: All of the cell.
            cursor: Characters before the cursor.
            beside: Ask in a subshell: the kernel's main shell answers nothing while a cell runs in it,
                awaited or not. It can be asked from another thread than that of ``run``.
        """
        position = len(source) if cursor is None else cursor
        with _Asking(self._client.km.get_connection_info()) as asking:
            header = {"subshell_id": asking.ask("create_subshell_request")["subshell_id"]} if beside else {}
            reply = asking.ask("complete_request", header, code=source, cursor_pos=position)
        shown = reply["metadata"].get("_jupyter_types_experimental", [])
        return {match["text"]: match["type"].replace("\N{NO-BREAK SPACE}", " ") for match in shown}

    @contextmanager
    def interrupted_when(self, ready: Callable[[], bool]) -> Iterator[None]:
        """Interrupt the kernel, as the stop button does, as soon as ``ready`` returns, while a cell runs."""

        def watch() -> None:
            if ready():
                os.kill(self._pid, signal.SIGINT)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            thread.join()


class _Asking:
    """Asks a kernel over sockets of its own, without an event loop, so from any thread."""

    def __init__(self, kernel: dict[str, Any]) -> None:
        self._kernel = kernel
        self._session = Session(key=kernel["key"], signature_scheme=kernel["signature_scheme"])

    def __enter__(self) -> Self:
        self._context = zmq.Context()
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def ask(self, kind: str, header: Mapping[str, str] | None = None, **content: object) -> dict[str, Any]:
        """The content of the reply, within 30 s."""
        channel = "shell" if kind == "complete_request" else "control"
        message = self._session.msg(kind, content)
        message["header"] |= header or {}
        with self._context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.RCVTIMEO, 30_000)
            socket.connect(f"tcp://{self._kernel['ip']}:{self._kernel[f'{channel}_port']}")
            self._session.send(socket, message)
            _, reply = self._session.feed_identities(socket.recv_multipart())
        answered: dict[str, Any] = self._session.deserialize(reply)["content"]
        return answered
