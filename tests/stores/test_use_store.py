"""use_store: connecting a process with a store, and leaving it in order."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import llm_failover_nb as fo
from llm_failover_nb.engine.bench import process_benches
from llm_failover_nb.engine.sharing import BenchRow
from llm_failover_nb.stores.errors import StoreError
from llm_failover_nb.stores.lookout import Lookout
from tests.engine.shared import MemoryStore, Rows
from tests.stores.worker import wait_for

REPO = Path(fo.__file__).parents[1]


@pytest.fixture(autouse=True)
def no_store_afterwards() -> Iterator[None]:
    """The process is left with no store and no benches; other tests may have left some before."""
    yield
    fo.use_store(None)
    for bench in fo.list_benched():
        fo.unbench_model(bench.model)


def kept(path: Path) -> list[str]:
    """The models that the file knows, seen by another process."""
    program = (
        "import sys; from pathlib import Path; from llm_failover_nb.stores.sqlite import SQLiteStore\n"
        "store = SQLiteStore(Path(sys.argv[1]))\n"
        "print(*[row.model for row in store.changed(0)])\n"
        "store.close()"
    )
    return run(program, str(path)).split()


def run(program: str, *arguments: str) -> str:
    """What a program prints that ends in order, without a word on its standard error."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_benches_are_in_the_file(tmp_path: Path) -> None:
    """As soon as they are laid."""
    fo.use_store(f"sqlite:///{tmp_path}/a.db")
    fo.bench_model("sim/echo")
    assert "sim/echo" in kept(tmp_path / "a.db")


def test_the_address_is_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the folder is later; none without a store."""
    monkeypatch.chdir(tmp_path)
    assert fo.get_store() == ""
    fo.use_store("sqlite:///a.db")
    assert fo.get_store() == f"sqlite:///{tmp_path}/a.db"
    fo.use_store(None)
    assert fo.get_store() == ""


def test_leaving_keeps_what_is_known(tmp_path: Path) -> None:
    """And ends the thread; the file is closed: nothing lies beside it."""
    fo.use_store(f"sqlite:///{tmp_path}/a.db")
    fo.bench_model("sim/echo")
    fo.use_store(None)
    assert fo.is_benched("sim/echo")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    assert "llm-failover-store" not in {thread.name for thread in threading.enumerate()}


def test_the_same_store_again_changes_nothing(tmp_path: Path) -> None:
    """Running a cell twice is usual."""
    fo.use_store(f"sqlite:///{tmp_path}/a.db")
    store = process_benches._store
    fo.use_store(f"sqlite:///{tmp_path}/../{tmp_path.name}/a.db")
    assert process_benches._store is store


def test_another_store_takes_over(tmp_path: Path) -> None:
    """It is told what the process knows; the one before is closed."""
    fo.use_store(f"sqlite:///{tmp_path}/a.db")
    fo.bench_model("sim/echo")
    fo.use_store(f"sqlite:///{tmp_path}/b.db")
    assert "sim/echo" in kept(tmp_path / "b.db")
    assert not (tmp_path / "a.db-wal").exists()


def test_a_store_that_cannot_be_used_leaves_the_one_before(tmp_path: Path) -> None:
    """The error is one of the package's, and one of the system's."""
    fo.use_store(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(fo.FailoverError) as refused:
        fo.use_store(f"sqlite:///{tmp_path}/none/b.db")
    assert isinstance(refused.value, StoreError | OSError)
    fo.bench_model("sim/echo")
    assert fo.get_store() == f"sqlite:///{tmp_path}/a.db"
    assert "sim/echo" in kept(tmp_path / "a.db")


def test_a_process_ends_in_order(tmp_path: Path) -> None:
    """Nothing is left open, and nothing beside the file."""
    program = "import sys, llm_failover_nb as fo; fo.use_store(sys.argv[1]); fo.bench_model('sim/echo')"
    run(program, f"sqlite:///{tmp_path}/a.db")
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    assert kept(tmp_path / "a.db") == ["sim/echo"]


def test_who_uses_no_store_pays_for_none() -> None:
    """Neither for the database nor for the thread."""
    program = (
        "import sys, llm_failover_nb as fo\n"
        "fo.use_store, fo.get_store(), fo.parse_chain('sim/echo').complete('')\n"
        "print(sorted({'sqlite3', 'llm_failover_nb.stores.sqlite'} & set(sys.modules)))"
    )
    assert run(program) == "[]\n"


class Faulty(MemoryStore):
    """A store with a fault of our own making."""

    def changed(self, since: int) -> list[BenchRow]:
        if self.faults:
            self.faults -= 1
            raise RuntimeError("a fault")
        return super().changed(since)

    faults = 0
    tidied = 0
    closed = False

    def tidy(self) -> None:
        self.tidied += 1

    def close(self) -> None:
        self.closed = True


def test_what_is_left_is_handed_over_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is back, and nobody has looked yet."""
    monkeypatch.setattr(Lookout, "period", 60)
    store, benches = Faulty(Rows(), "one"), fo.BenchRegistry()
    lookout = Lookout(benches, store)
    store.away = True
    benches.bench("a/m")
    store.away = False
    lookout.close()
    assert (list(store.kept.rows), store.closed) == (["a/m"], True)


def test_a_fault_is_told_once_and_looking_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread that had died of it would share nothing, and say nothing."""
    monkeypatch.setattr(Lookout, "period", 0.001)
    rows = Rows()
    store, benches = Faulty(rows, "one"), fo.BenchRegistry()
    lookout = Lookout(benches, store)
    store.faults = 3
    other = fo.BenchRegistry()
    other.share(MemoryStore(rows, "two"))
    other.bench("a/m")
    wait_for(lambda: benches.is_benched("a/m"))
    wait_for(lambda: store.tidied)
    lookout.close()
    assert [record.getMessage() for record in caplog.records] == [
        "looking into the store failed; looking goes on"
    ]
    assert store.closed
