"""%llm trust: what is shown, what is asked, and what a yes does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from IPython.core.error import StdinNotImplementedError

from llm_failover_nb.notebook.trusting import trust_project, withdraw_trust
from llm_failover_nb.settings import SETTINGS_VARIABLE, Settings, load_settings
from tests.notebook.kernel import client

LAB = "[providers.lab]\nbase_url = 'https://lab.test/v1'\nkey_env = 'LAB_KEY'\n"
QUESTION = "Allow this, as long as the file stays as it is? [y/N] "


class Answer:
    """Somebody who is asked."""

    def __init__(self, answer: str | BaseException) -> None:
        self._answer = answer
        self.shown: list[str] = []

    def __call__(self, text: str) -> str:
        self.shown.append(text)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the project's file is, or would be."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setenv(SETTINGS_VARIABLE, str(tmp_path / "configuration" / "none.toml"))
    (tmp_path / "project" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project" / "llm_failover.toml"


def settings_of(file: Path, text: str) -> Settings:
    file.write_text(text, encoding="utf-8")
    return load_settings()


@pytest.mark.parametrize("answer", ["y", " YES\n"])
def test_a_yes_is_kept(file: Path, answer: str) -> None:
    """The next loading has all of the file."""
    said = trust_project(settings_of(file, LAB), Answer(answer))
    assert (said, list(load_settings().providers)) == (
        f"{file} is trusted as long as it stays as it is; the next cell uses all of it", ["lab"],
    )  # fmt: skip


@pytest.mark.parametrize("answer", ["", "n", "no", "yeah", "j"])
def test_anything_else_is_a_no(file: Path, answer: str) -> None:
    """An empty answer first of all."""
    said = trust_project(settings_of(file, LAB), Answer(answer))
    assert (said, load_settings().providers) == (
        f"{file} is not trusted; its chains, aliases and numbers count, and nothing else in it", {},
    )  # fmt: skip


@pytest.mark.parametrize("error", [EOFError(), StdinNotImplementedError("no stdin")])
def test_where_nobody_can_be_asked_it_is_a_no(file: Path, error: Exception) -> None:
    """What it wants is said all the same."""
    said = trust_project(settings_of(file, LAB), Answer(error))
    end = f"{file} is not trusted, for nobody can be asked here; run %llm trust in a notebook"
    assert ("LAB_KEY" in said, said.endswith(end), load_settings().providers) == (True, True, {})


def test_an_interrupted_question_is_no_answer(file: Path) -> None:
    """It interrupts."""
    with pytest.raises(KeyboardInterrupt):
        trust_project(settings_of(file, LAB), Answer(KeyboardInterrupt()))
    assert load_settings().providers == {}


def test_what_was_shown_is_what_is_trusted(file: Path) -> None:
    """Not what the file holds when the answer comes."""
    shown = settings_of(file, LAB)
    settings_of(file, LAB.replace("lab.test", "evil.test"))
    trust_project(shown, Answer("y"))
    assert load_settings().providers == {}


def test_all_that_it_wants_is_shown(file: Path) -> None:
    """Hosts with the variables of their keys, and files, each with its line."""
    ask = Answer("")
    trust_project(
        settings_of(
            file,
            "chain = 'local//tmp/x.gguf'\n[local.models]\nqwen = '/models/q.gguf'\n"
            f"{LAB}headers = {{ x-team = 'nlp' }}\n"
            "[providers.free]\nbase_url = 'http://192.0.2.7/v1'\n"
            "[providers.bare]\nbase_url = 'http://192.0.2.7/v1'\nkey_env = 'BARE_KEY'\nallow_http = true\n",
        ),
        ask,
    )
    assert ask.shown == [
        (
            f"{file} wants this, which is left out until you trust it:\n"
            "  line 10, bare/…: sends prompts to http://192.0.2.7/v1, with the key in BARE_KEY, unencrypted\n"
            "  line 8, free/…: sends prompts to http://192.0.2.7/v1, without a key\n"
            "  line 4, lab/…: sends prompts to https://lab.test/v1, with the key in LAB_KEY, with the "
            "headers x-team: nlp\n"
            "  line 3, local/qwen: loads /models/q.gguf\n"
            f"  line 1, chain: names a file to load, local//tmp/x.gguf\n{QUESTION}"
        )
    ]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://127.0.0.1:1/v1", "with the key in OPENAI_API_KEY"),
        ("https://evil.test/v1", "without a key"),
        ("http://192.0.2.7/v1\"\nkey_env = \"OPENAI_API_KEY", "with the key in OPENAI_API_KEY"),
    ],
)  # fmt: skip
def test_a_built_in_name_says_which_key_would_go_there(file: Path, url: str, key: str) -> None:
    """Also where the entry names none, or cannot be used as it stands."""
    ask = Answer("")
    trust_project(settings_of(file, f'[providers.openai]\nbase_url = "{url}"'), ask)
    address = url.partition('"')[0]
    said = f"line 1, openai/…: sends prompts to {address}, {key}, in place of the built-in openai\n"
    assert said in ask.shown[0]


@pytest.mark.parametrize("sign", ["\x1b[2J", "\u202e", "\n", "\r"])
def test_nothing_can_act_on_the_question(file: Path, sign: str) -> None:
    """Neither control characters, nor what turns a line around, nor a line that the file would add."""
    ask = Answer("")
    trust_project(settings_of(file, f'[local.models]\n{json.dumps(f"x{sign}y")} = "q.gguf"\n'), ask)
    assert (f"x{sign}y" in ask.shown[0], len(ask.shown[0].splitlines())) == (False, 3)


def test_letters_that_look_alike_are_written_out(file: Path) -> None:
    """A host is what it is called in ASCII."""
    ask = Answer("")
    trust_project(settings_of(file, "[providers.lab]\nbase_url = 'https://l\u0430b.test'"), ask)
    assert ("l\u0430b.test" in ask.shown[0], r"l\u0430b.test" in ask.shown[0]) == (False, True)


def test_nothing_to_ask(file: Path) -> None:
    """Where there is no project, and where nothing of it is left out."""
    ask = Answer("y")
    none = trust_project(load_settings(), ask)
    nothing = trust_project(settings_of(file, "chain = 'a/b'"), ask)
    assert (none.startswith("there is no project file here"), nothing, ask.shown) == (
        True, f"{file}: nothing in it is left out", [],
    )  # fmt: skip


def test_trust_can_be_withdrawn(file: Path) -> None:
    """Once; without a project there is none."""
    without = withdraw_trust(load_settings())
    trust_project(settings_of(file, LAB), Answer("y"))
    first, second = withdraw_trust(load_settings()), withdraw_trust(load_settings())
    assert (without.startswith("there is no project file"), second, load_settings().providers) == (
        True, f"{file} was not trusted", {},
    )  # fmt: skip
    assert first.startswith(f"{file} is no longer trusted; its chains, aliases and numbers count")


def test_nbclient_is_not_asked(file: Path) -> None:
    """Where a program runs the notebook, nothing is trusted, and the cell does not wait for an answer."""
    file.write_text(LAB, encoding="utf-8")
    cells = ("%load_ext llm_failover_nb", "%llm trust")
    ran = client(*cells, resources={"metadata": {"path": str(file.parent)}}).execute()
    said = ran.cells[1].outputs[0]["text"].splitlines()
    assert (said[1:], load_settings().providers) == (
        [
            "  line 1, lab/…: sends prompts to https://lab.test/v1, with the key in LAB_KEY",
            f"{file} is not trusted, for nobody can be asked here; run %llm trust in a notebook",
        ],
        {},
    )


def test_input_itself_can_ask(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of what is piped in, it is a no."""
    with open("/dev/null", encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        assert "nobody can be asked here" in trust_project(settings_of(file, LAB), input)
