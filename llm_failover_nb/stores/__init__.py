"""Where benches live beyond one process: :func:`use_store` connects it with a store. No store is in here."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from llm_failover_nb.engine.bench import process_benches
from llm_failover_nb.engine.locks import new_lock

if TYPE_CHECKING:
    from llm_failover_nb.stores.lookout import Lookout

__all__ = ["get_store", "use_store"]


class _Current:
    """The process's store, behind one lock."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._lookout: Lookout | None = None
        self.url = ""

    def use(self, url: str | None) -> None:
        with self._lock:
            if url is None:
                self._leave()
                return
            # Imported here: a process without a store needs neither sqlite3 nor a thread.
            from llm_failover_nb.stores.location import path_of
            from llm_failover_nb.stores.lookout import Lookout
            from llm_failover_nb.stores.sqlite import SQLiteStore

            path = path_of(url)
            if self.url == _url(path.as_posix()):
                return
            store = SQLiteStore(path)  # while this can fail, the one before stays
            self._leave()
            self._lookout, self.url = Lookout(process_benches, store), _url(path.as_posix())
            atexit.register(self.close)

    def close(self) -> None:
        with self._lock:
            self._leave()

    def _leave(self) -> None:
        lookout, self._lookout, self.url = self._lookout, None, ""
        if lookout is not None:
            atexit.unregister(self.close)
            lookout.close()


_current = _Current()


def _url(path: str) -> str:
    return f"sqlite:///{path}"


def use_store(url: str | None) -> None:
    """Share benches with every process of this machine that uses the same store, from now on.

    A bench that is laid or lifted in one notebook is seen in the others within half a second, and outlives
    the kernel. Reading benches costs what it did before; a change waits for the file a fifth of a second at
    most. A store that is lost fails no call: the process goes on with what it knows, says so once in the
    log, and shares again once the store is back.

    What the process and the store know becomes one: failures add up, the operator's later word holds, and of
    two automatic benches the longer one.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute/path.db``, as SQLAlchemy writes them; ``~``
            stands for the home folder. The file is created, its folder must exist. ``None`` disconnects;
            the process keeps the benches it knows.

    Raises:
        TypeError: When ``url`` is no str.
        ValueError: When it is no address of a file.
        StoreError: A ``FailoverError`` and ``OSError``: the folder is missing, the file is somebody else's or
            from a newer version, cannot be written, or is on a network file system, where SQLite cannot share
            it. A store that was in use before stays.

    >>> use_store(None)
    >>> get_store()
    ''
    """
    _current.use(url)


def get_store() -> str:
    """The address of the store in use, with the whole path; ``""`` when benches are the process's own."""
    return _current.url
