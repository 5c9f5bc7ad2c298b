"""The user's settings: what is read, what is refused, and what the refusal says."""

from __future__ import annotations

import textwrap
import traceback
from contextlib import suppress
from pathlib import Path

import platformdirs
import pytest

from llm_failover_nb import settings as settings_module
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.providers import endpoint
from llm_failover_nb.providers.presets import WIRES
from llm_failover_nb.settings import (
    SETTINGS_VARIABLE,
    ProviderSettings,
    Settings,
    SettingsError,
    load_settings,
    reader,
    settings_path,
)
from tests.settings.refusals import refusal

LAB = '[providers.lab]\nbase_url = "https://llm.example.org/v1"\n'
KEY = "sk-canary-of-settings-1234567890"
KNOWN_TABLES = "known here: aliases, cell, chain, chains, local, policy, providers"
KNOWN = "known here: allow_http, base_url, headers, key_env, wire"
WHOLE = 'https:// or http:// and a host; write it whole: base_url = "https://llm.example.org/v1"'


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
        ("\nzzz = 1", 2, f"the key zzz is not known; {KNOWN_TABLES}"),
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


def test_an_inline_table_is_its_line(file: Path) -> None:
    """What stands in one is told with the line of the table."""
    error = refusal(file, "chain = 'a/b'\nlocal = {models = {qwen = 3}}")
    assert (error.line, "local.models.qwen" in str(error)) == (2, True)


def test_a_key_written_with_an_escape_has_its_line(file: Path) -> None:
    """As any other."""
    error = refusal(file, '\n"ch\\u0061ni" = 1')
    assert (error.line, "the key chani is not known" in str(error)) == (2, True)


# Providers


def test_a_provider_is_read(file: Path) -> None:
    """All of its keys, and the line where it stands."""
    file.write_text(
        'chain = "lab/x"\n[providers.lab]\nwire = "anthropic"\nbase_url = "https://llm.example.org/v1"\n'
        'key_env = "LAB_KEY"\nallow_http = true\nheaders = { "x-team" = "nlp" }\n'
    )
    expected = ProviderSettings(
        "https://llm.example.org/v1", "anthropic", "LAB_KEY", allow_http=True, headers={"x-team": "nlp"}
    )
    providers = load_settings(file).providers
    assert (providers, providers["lab"].line) == ({"lab": expected}, 2)


def test_a_providers_base_url_is_enough(file: Path) -> None:
    """Everything else is left open, so that a built-in name keeps its own."""
    file.write_text(LAB)
    assert load_settings(file).providers == {"lab": ProviderSettings("https://llm.example.org/v1")}


def test_the_documented_file_is_accepted(file: Path) -> None:
    """Whoever copies it has settings."""
    file.write_text(textwrap.dedent((settings_module.__doc__ or "").partition("::\n")[2]))
    settings = load_settings(file)
    assert (list(settings.providers), list(settings.aliases), list(settings.local)) == (
        ["lab"],
        ["fast"],
        ["qwen"],
    )


def test_an_entry_that_has_moved_is_the_same(file: Path) -> None:
    """A line inserted above changes no provider."""
    file.write_text(LAB)
    before = load_settings(file).providers
    file.write_text(f"# moved\n{LAB}")
    after = load_settings(file).providers
    assert (before == after, before["lab"].line, after["lab"].line) == (True, 1, 2)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.7:11434",
        "https://llm.example.org",
        "HTTPS://llm.example.org/v1?x=1",
        "http://[::1]:80",
    ],
)
def test_a_base_url_may_be_any_of_the_web(file: Path, url: str) -> None:
    """With a port, an address, a query."""
    file.write_text(f'[providers.lab]\nbase_url = " {url} "\n')
    assert load_settings(file).providers["lab"].base_url == url


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("providers = 3", 1, "providers is a table, not 3; write [providers] and its keys below it"),
        (
            "[providers]\nlab = 'x'",
            2,
            "providers.lab is a table, not 'x'; write [providers.lab] and its keys below it",
        ),
        (
            '[providers."a/b"]\nbase_url = "x"',
            1,
            "'a/b' is no name for a provider: give it one without slash, comma or space",
        ),
        (
            '[aliases]\n"a,b" = "sim/echo"',
            2,
            "'a,b' is no name for an alias: give it one without slash, comma or space",
        ),
        (
            "[providers.lab]\nkey_env = 'LAB_KEY'",
            1,
            'providers.lab has no base_url; write base_url = "https://llm.example.org/v1"',
        ),
        (
            f"{LAB}base_ulr = 'x'",
            3,
            "the key providers.lab.base_ulr is not known; did you mean base_url?",
        ),
        (
            f"{LAB}zzz = 1",
            3,
            f"the key providers.lab.zzz is not known; {KNOWN}",
        ),
        (
            f"{LAB}[providers.lab.models]\nx = 1",
            3,
            f"the key providers.lab.models is not known; {KNOWN}",
        ),
        (f"{LAB}wire = 'opnai'", 3, "providers.lab.wire 'opnai' is not known; did you mean openai?"),
        (
            f"{LAB}wire = 'qqq'",
            3,
            "providers.lab.wire 'qqq' is not known; choose one of: anthropic, gemini, ollama, openai",
        ),
        (f"{LAB}wire = 3", 3, 'providers.lab.wire is a text that is not empty, not 3; write wire = "…"'),
        (
            f"{LAB}allow_http = 'yes'",
            3,
            "providers.lab.allow_http is true or false, not 'yes'; write allow_http = true",
        ),
        (
            f"{LAB}headers = 'x'",
            3,
            'providers.lab.headers is a table of texts; write headers = { "x-team" = "nlp" }',
        ),
        (
            f"{LAB}headers = {{ x = 3 }}",
            3,
            'providers.lab.headers.x is a text that is not empty, not 3; write x = "…"',
        ),
        (
            f"{LAB}[providers.lab.headers]\n'x team' = 'nlp'",
            4,
            "providers.lab.headers.x team holds a character that no header can carry; leave it out",
        ),
        (
            f"{LAB}headers = {{ x = 'é' }}",
            3,
            "providers.lab.headers.x holds a character that no header can carry; leave it out",
        ),
        (
            "[providers.lab]\nbase_url = 3",
            2,
            'providers.lab.base_url is a text that is not empty, not 3; write base_url = "…"',
        ),
        (
            "[providers.lab]\nbase_url = 'llm.example.org'",
            2,
            f"providers.lab.base_url 'llm.example.org' does not begin with {WHOLE}",
        ),
        (
            "[providers.lab]\nbase_url = 'https://x:99999'",
            2,
            "providers.lab.base_url 'https://x:99999' is no URL: Port out of range 0-65535",
        ),
    ],
)
def test_a_refused_provider_names_file_line_value_and_remedy(
    file: Path, text: str, line: int, problem: str
) -> None:
    """As everywhere in the file."""
    error = refusal(file, text)
    assert (str(error), error.line) == (f"{file}, line {line}: {problem}", line)


@pytest.mark.parametrize(
    "url", ["ftp://x", "https://", "https:///v1", "//x/v1", "file:///etc", "https://x:0"]
)
def test_an_address_that_no_request_reaches_is_refused(file: Path, url: str) -> None:
    """It is named."""
    assert f"{url!r} does not begin with https:// or http://" in str(
        refusal(file, f"[providers.lab]\nbase_url = '{url}'")
    )


SECRETIVE = {
    "a literal key": f"api_key = '{KEY}'",
    "a key for a variable": f"key_env = '{KEY}'",
    "a lower-case key for a variable": f"key_env = '{KEY.replace('-', '_')}'",
    "keys in a list": f"key_env = ['{KEY}']",
    "a key in a header": f"headers = {{ authorization = 'Bearer {KEY}' }}",
    "a key in another": f"headers = {{ 'X-API-Key' = '{KEY}' }}",
    "headers that are none": f"headers = 'authorization: {KEY}'",
    "a key under another name": f"apikey = '{KEY}'",
    "a key beside a mistake": f"api_key = '{KEY}'\nzzz = 1",
    "broken TOML": f"api_key = '{KEY}",
}


@pytest.mark.parametrize("written", SECRETIVE.values(), ids=SECRETIVE)
def test_a_key_in_the_file_is_refused_and_not_shown(file: Path, written: str) -> None:
    """Not in the message, nor in a traceback with all local variables, as %xmode Verbose prints it."""
    error = refusal(file, f"{LAB}{written}\n")
    masked = (KEY, KEY.replace("-", "_"))
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)][1:]  # the first is this file's
    shown = [text for frame in frames for text in reprs(frame.f_locals.values())]
    assert [text for text in [*shown, str(error)] if any(key in text for key in masked)] == []
    assert (error.__cause__, error.__context__, len(frames)) == (None, None, 1)


def reprs(values: object) -> list[str]:
    shown = []
    for value in values:  # type: ignore[attr-defined]  # the locals of a frame
        with suppress(AttributeError):
            shown.append(repr(value))
    return shown


def test_a_refused_key_says_where_keys_go(file: Path) -> None:
    """Into a variable, whose name the file gives."""
    said = str(refusal(file, f"{LAB}api_key = '{KEY}'"))
    assert said == (
        f"{file}, line 3: providers.lab.api_key would be a key written in this file; put the key into an "
        'environment variable, and write its name here: key_env = "LAB_KEY"'
    )


def test_a_password_in_an_address_is_refused_and_not_shown(file: Path) -> None:
    """It would not be sent, and the file is no place for it."""
    error = refusal(file, f"[providers.lab]\nbase_url = 'https://me:{KEY}@llm.example.org'")
    said = "providers.lab.base_url holds a user name or a password, which is not sent; take it out"
    assert (said in str(error), KEY in str(error)) == (True, False)


@pytest.mark.parametrize("name", ["LAB_KEY", "lab_key", "_K", "K9"])
def test_a_variables_name_is_one(file: Path, name: str) -> None:
    """In upper case, or short."""
    file.write_text(f"{LAB}key_env = ' {name} '")
    assert load_settings(file).providers["lab"].key_env == name


def test_the_wires_are_those_of_the_providers() -> None:
    """This layer cannot import them, so they are written twice."""
    assert tuple(sorted(WIRES)) == reader._WIRES


def test_headers_that_carry_a_key_are_those_that_the_endpoint_masks() -> None:
    """Likewise."""
    assert reader._KEY_HEADERS == endpoint._KEY_NAMES


@pytest.mark.parametrize("name", ["LAB_KEY", "lab_key", "", "a-b", "l" * 24, "l" * 25, "L" * 25, "ä", "1A"])
def test_variables_are_told_from_keys_as_the_endpoint_does(name: str) -> None:
    """Likewise."""
    assert reader._could_be_a_variable(name) == endpoint._could_be_a_variable(name)


def test_providers_are_read_only(file: Path) -> None:
    """Like everything that was read."""
    file.write_text(f"{LAB}headers = {{ x = 'y' }}")
    providers = load_settings(file).providers
    with pytest.raises(TypeError):
        providers["other"] = providers["lab"]  # type: ignore[index]  # the point of the test
    with pytest.raises(TypeError):
        providers["lab"].headers["x"] = "z"  # type: ignore[index]  # the point of the test


@pytest.mark.parametrize(
    "line",
    [
        'providers = "{key}"', 'providers.lab = "{key}"', 'aliases = "{key}"', 'local.models = "{key}"',
        'providers.lab = {{ base_url = "{key}" }}', 'providers.lab = {{ base_url = ["{key}"] }}',
        'providers.lab = {{ base_url = "https://llm.test/v1", wire = "{key}" }}',
        'providers.lab = {{ base_url = "https://llm.test/v1", allow_http = "{key}" }}',
        'providers.lab = {{ base_url = "https://llm.test/v1", key_env = "{key}" }}', 'chain = ["{key}"]',
    ],
)  # fmt: skip
def test_a_key_in_the_wrong_place_is_not_shown(tmp_path: Path, line: str) -> None:
    """Whatever is wrong with the file, the message shows nothing that may be a key."""
    key = "sk-canary-0123456789abcdef"
    file = tmp_path / "settings.toml"
    file.write_text(line.format(key=key))
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert key not in str(caught.value)
