"""The user's settings: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.settings import SETTINGS_VARIABLE, Settings, SettingsError, load_settings, settings_path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def refusal(file: Path, text: str) -> SettingsError:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    return caught.value


def test_a_missing_file_is_empty_settings(file: Path) -> None:
    """No file, nothing set."""
    assert load_settings(file) == Settings(path=file)


def test_an_empty_file_is_empty_settings(file: Path) -> None:
    """A file with nothing in it sets nothing."""
    file.touch()
    assert load_settings(file) == Settings(path=file)


def test_the_environment_names_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LLM_FAILOVER_NB_SETTINGS comes before the configuration folder."""
    monkeypatch.setenv(SETTINGS_VARIABLE, str(file))
    file.write_text('chain = "a/b"')
    assert load_settings().chain == "a/b"


def test_without_the_variable_the_file_is_in_the_configuration_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An unset variable leaves the platform's own folder."""
    monkeypatch.delenv(SETTINGS_VARIABLE)
    expected = platformdirs.user_config_path("llm-failover-nb", appauthor=False) / "settings.toml"
    assert settings_path() == expected


def test_a_changed_file_is_read_anew(file: Path) -> None:
    """Nothing is kept between two readings."""
    file.write_text('chain = "a/b"')
    load_settings(file)
    file.write_text('chain = "c/d"')
    assert load_settings(file).chain == "c/d"


def test_every_key_is_read(file: Path) -> None:
    """Chain, aliases and local models arrive as written."""
    file.write_text('chain = " a/b,c/d "\n[aliases]\nfast = "a/b"\n[local.models]\nqwen = "/m/q.gguf"\n')
    settings = load_settings(file)
    expected = Settings(
        aliases={"fast": "a/b"}, chain="a/b,c/d", local={"qwen": Path("/m/q.gguf")}, path=file
    )
    assert settings == expected


def test_a_relative_model_is_relative_to_the_file(file: Path) -> None:
    """A path without a root starts at the settings file's folder, not at the notebook's."""
    file.write_text('[local.models]\nqwen = "q.gguf"\n')
    assert load_settings(file).local == {"qwen": file.parent / "q.gguf"}


def test_a_home_folder_is_expanded(file: Path) -> None:
    """``~`` is the user's home."""
    file.write_text('[local.models]\nqwen = "~/q.gguf"\n')
    assert load_settings(file).local == {"qwen": Path.home() / "q.gguf"}


def test_a_byte_order_mark_is_no_error(file: Path) -> None:
    """Editors that write a BOM write settings too."""
    file.write_bytes(b'\xef\xbb\xbfchain = "a/b"')
    assert load_settings(file).chain == "a/b"


def test_settings_are_read_only(file: Path) -> None:
    """What was read cannot be changed by accident for everybody else."""
    file.write_text('[aliases]\nfast = "a/b"\n')
    with pytest.raises(TypeError):
        load_settings(file).aliases["fast"] = "c/d"  # type: ignore[index]  # the point of the test


def test_the_error_is_the_packages_and_a_value_error() -> None:
    """Both ``except FailoverError`` and ``except ValueError`` catch it."""
    assert issubclass(SettingsError, FailoverError)
    assert issubclass(SettingsError, ValueError)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ('chian = "a/b"', 1, "the key chian is not known; did you mean chain?"),
        ("\nzzz = 1", 2, "the key zzz is not known; known here: aliases, chain, local"),
        ('[local]\nmodel = "x"', 2, "the key local.model is not known; did you mean models?"),
        ('# x\n[alias]\nfast = "a/b"', 2, "the key alias is not known; did you mean aliases?"),
        ("chain = 3", 1, 'chain is a text that is not empty, not 3; write chain = "…"'),
        ('chain = " "', 1, "chain is a text that is not empty, not ' '; write chain = \"…\""),
        ('chain = ["a/b"]', 1, "chain is a text that is not empty, not ['a/b']; write chain = \"…\""),
        ("[aliases]\nfast = 3", 2, 'aliases.fast is a text that is not empty, not 3; write fast = "…"'),
        ("aliases = 3", 1, "aliases is a table, not 3; write [aliases] and its keys below it"),
        ("local.models = 3", 1, "local.models is a table, not 3; write [local.models] and its keys below it"),
        (
            '[local.models]\na = "a"\nsmollm2 = "s.gguf"',
            3,
            "local.models.smollm2 is the model that the package brings; call 's.gguf' otherwise",
        ),
    ],
)
def test_a_refusal_names_file_line_value_and_remedy(file: Path, text: str, line: int, problem: str) -> None:
    """Whoever reads the message knows where to look, what stood there and what to write."""
    error = refusal(file, text)
    assert (str(error), error.line, error.path) == (f"{file}, line {line}: {problem}", line, file)


def test_broken_toml_names_the_line(file: Path) -> None:
    """A syntax error is told with its place."""
    error = refusal(file, 'chain = "a/b"\n[aliases\n')
    assert (error.line, str(error).startswith(f"{file}, line 2: this is no TOML: ")) == (2, True)


def test_text_that_is_not_utf8_names_the_line(file: Path) -> None:
    """A file in another encoding says what to do about it."""
    file.write_bytes(b'chain = "a/b"\n# \xff\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert str(caught.value) == f"{file}, line 2: this is not UTF-8 text; save it as UTF-8"


def test_a_folder_in_the_files_place_is_an_error(tmp_path: Path) -> None:
    """What cannot be read is told, not taken for empty."""
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path)


def test_an_error_without_a_line_still_names_the_key(file: Path) -> None:
    """Inline tables hide the line; the key is named all the same."""
    error = refusal(file, "local = {models = {qwen = 3}}")
    assert "local.models.qwen" in str(error)
