"""The project's file: where it is found, and what is passed over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_failover_nb.settings import SettingsError, load_settings
from llm_failover_nb.settings.project import find_project
from tests.settings.conftest import Write

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file to somebody else")

TABLE = "[tool.llm_failover]\n"


def found(start: Path) -> Path | None:
    file = find_project(start).file
    return None if file is None else file.path


def written(file: Path, text: str = "chain = 'a/b'") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_no_project_is_none(folder: Path) -> None:
    """And nothing to note."""
    result = find_project()
    assert (result.file, result.notes) == (None, ())


def test_the_file_is_found_in_the_working_directory(project: Write) -> None:
    """By its name."""
    file = project("chain = 'a/b'")
    settings = load_settings()
    assert (settings.chain, settings.project) == ("a/b", file)


def test_pyproject_counts_if_it_has_the_table(folder: Path) -> None:
    """One that only other tools write into is none of ours."""
    without = written(folder / "deep" / "pyproject.toml", "[tool.other]\nx = 'llm_failover'")
    file = written(folder / "pyproject.toml", f"{TABLE}chain = 'c/d'")
    settings = load_settings()
    assert (settings.chain, settings.project, found(without.parent)) == ("c/d", file, file)


def test_the_nearest_folder_counts(folder: Path) -> None:
    """Of a file above it, nothing."""
    written(folder / "llm_failover.toml")
    near = written(folder / "a" / "pyproject.toml", TABLE)
    (folder / "a" / "b").mkdir()
    assert found(folder / "a" / "b") == near


def test_the_search_ends_at_a_repository(folder: Path) -> None:
    """Its own folder is the last that is looked at; ``.git`` may be a file, too."""
    outer = written(folder / "llm_failover.toml")
    inner = folder / "module"
    inner.mkdir()
    before = found(inner)
    (inner / ".git").write_text("gitdir: elsewhere")
    assert (before, found(inner), found(folder)) == (outer, None, outer)


def test_the_search_ends_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the last folder that is looked at."""
    outer, home = written(folder / "llm_failover.toml"), folder / "home"
    (home / "work").mkdir(parents=True)
    before = found(home / "work")
    monkeypatch.setenv("HOME", str(home))
    without = found(home / "work")
    at_home = written(home / "llm_failover.toml")
    assert (before, without, found(home / "work")) == (outer, None, at_home)


def test_both_files_in_one_folder_are_an_error(folder: Path) -> None:
    """Which names both, and says what to do."""
    own, shared = written(folder / "llm_failover.toml"), written(folder / "pyproject.toml", TABLE)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    said = f"{own} and [tool.llm_failover] in {shared} are both settings of this project; move all of them"
    assert str(caught.value).startswith(said)


def test_the_users_own_file_is_no_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is called."""
    file = written(folder / "llm_failover.toml", "[local.models]\nq = 'q.gguf'")
    monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", "llm_failover.toml")
    settings = load_settings()
    assert (list(settings.local), settings.project, settings.untrusted, file.exists()) == (
        ["q"], None, None, True,
    )  # fmt: skip


def test_a_working_directory_that_is_gone_has_no_project(folder: Path) -> None:
    """And calls go on."""
    gone = folder / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    result = find_project()
    assert (result.file, "the working directory cannot be read" in result.notes[0]) == (None, True)


# Somebody else's


@needs_root
@pytest.mark.parametrize("name", ["llm_failover.toml", "pyproject.toml"])
def test_a_file_of_another_user_is_not_read(folder: Path, name: str) -> None:
    """The search goes on above it, and a note says so."""
    above = written(folder / "llm_failover.toml", "chain = 'mine/x'")
    theirs = written(folder / "shared" / name, f"{TABLE if name[0] == 'p' else ''}chain = 'theirs/x'")
    os.chown(theirs, 12345, 12345)
    result = find_project(theirs.parent)
    assert (result.file and result.file.path, result.notes) == (
        above, (f"{theirs} belongs to another user (12345) and was not read",),
    )  # fmt: skip


@needs_root
def test_a_link_of_another_user_is_not_followed(folder: Path) -> None:
    """Whosever file it leads to."""
    mine = written(folder / "elsewhere" / "x.toml")
    link = folder / "llm_failover.toml"
    link.symlink_to(mine)
    before = found(folder)
    os.lchown(link, 12345, 12345)
    assert (before, found(folder)) == (link, None)


@needs_root
def test_a_link_to_a_file_of_another_user_is_not_read(folder: Path) -> None:
    """Either must be the user's own."""
    theirs = written(folder / "elsewhere" / "x.toml")
    os.chown(theirs, 12345, 12345)
    (folder / "llm_failover.toml").symlink_to(theirs)
    assert found(folder) is None


@needs_root
def test_the_note_reaches_the_settings(folder: Path, user: Write) -> None:
    """So that %llm config can show it."""
    os.chown(written(folder / "llm_failover.toml"), 12345, 12345)
    settings = load_settings()
    assert (settings.chain, len(settings.notes)) == (None, 1)


def test_a_pipe_is_passed_over_without_waiting(folder: Path) -> None:
    """Nobody writes into it."""
    os.mkfifo(folder / "llm_failover.toml")
    result = find_project(folder)
    expected = (f"{folder / 'llm_failover.toml'} is no file, and was passed over",)
    assert (result.file, result.notes) == (None, expected)


def test_a_folder_that_cannot_be_looked_into_is_noted(folder: Path) -> None:
    """The search goes on above it."""
    above = written(folder / "llm_failover.toml")
    (folder / "loop").symlink_to("loop")
    result = find_project(folder / "loop")
    noted = [note.partition(" cannot be looked for")[0] for note in result.notes]
    assert (result.file and result.file.path, noted) == (
        above, [str(folder / "loop" / name) for name in ("llm_failover.toml", "pyproject.toml")],
    )  # fmt: skip


# What cannot be read


def test_a_folder_in_the_files_place_is_an_error(folder: Path) -> None:
    """The name is ours alone."""
    (folder / "llm_failover.toml").mkdir()
    with pytest.raises(
        SettingsError, match=r"llm_failover\.toml: the settings cannot be read: Is a directory"
    ):
        find_project(folder)


def test_a_folder_in_pyprojects_place_is_noted(folder: Path) -> None:
    """It concerns other tools."""
    (folder / "pyproject.toml").mkdir()
    result = find_project(folder)
    assert (result.file, "cannot be read (Is a directory)" in result.notes[0]) == (None, True)


@pytest.mark.parametrize("text", ["[tool\n", "name = 'llm_failover_nb'\n[tool\n", "# \ud800 llm_failover"])
def test_a_broken_pyproject_of_others_stops_nothing(folder: Path, text: str) -> None:
    """Where it might be meant, a note says so."""
    (folder / "pyproject.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    result = find_project(folder)
    assert (result.file, len(result.notes)) == (None, 1 if "llm_failover" in text else 0)


@pytest.mark.parametrize(
    "header", ["[tool.llm_failover]", "[ tool . 'llm_failover' ]", "tool.llm_failover.x = 1"]
)
def test_a_broken_pyproject_of_ours_is_an_error(folder: Path, header: str) -> None:
    """With file and line."""
    file = written(folder / "pyproject.toml", f"{header}\nchain = 'a/b'\n[x\n")
    with pytest.raises(SettingsError) as caught:
        find_project(folder)
    assert (caught.value.path, caught.value.line) == (file, 3)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"[project]\nchian = 1\n{TABLE}chian = 1", 4, "the key chian is not known; did you mean chain?"),
        (
            f"[aliases]\nfast = 1\n{TABLE}\n[tool.llm_failover.aliases]\nfast = 3",
            6,
            'aliases.fast is a text that is not empty, not 3; write fast = "…"',
        ),
        (
            f"{TABLE}cell = 3",
            2,
            "tool.llm_failover.cell is a table, not 3; write [tool.llm_failover.cell] and its keys below it",
        ),
        (
            "[tool]\nllm_failover = 3",
            2,
            "tool.llm_failover is a table, not 3; write [tool.llm_failover] and its keys below it",
        ),
        ("[tool]\nllm_failover.cell.seed = ''", 2, "cell.seed is a whole number, not ''; write seed = 7"),
    ],
)
def test_an_error_in_pyproject_names_its_own_line(folder: Path, text: str, line: int, said: str) -> None:
    """Not that of another table with such a key."""
    file = written(folder / "pyproject.toml", text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{file}, line {line}: {said}"


@pytest.mark.parametrize("text", ["llm_failover = 1", "tool = 'llm_failover'", "[other.llm_failover]"])
def test_a_name_elsewhere_is_not_the_table(folder: Path, text: str) -> None:
    """Only ``tool.llm_failover`` is."""
    written(folder / "pyproject.toml", text)
    assert find_project(folder).file is None
