"""What a notebook sets itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_failover_nb.settings import Origin, Session, Settings, SettingsError, load_settings
from tests.settings.conftest import Write

KEY = "sk-canary-0123456789abcdef"


@pytest.fixture
def session() -> Session:
    return Session()


def test_the_notebook_wins(session: Session, user: Write, project: Write) -> None:
    """Over the project and the user, value by value, and is named as the origin."""
    user("chain = 'u/x'\n[cell]\nseed = 1\nraw = true")
    file = project("chain = 'p/x'\n[cell]\nraw = false")
    session.set("chain", "n/x")
    session.set("cell.seed", 3)
    session.set("policy.cooldown", "2m")
    settings = session.overlay(load_settings())
    assert (settings.chain, settings.cell["seed"], settings.cell["raw"], settings.policy) == (
        "n/x", 3, False, {"cooldown": 120.0},
    )  # fmt: skip
    assert (settings.origins["chain"], settings.origins["cell.raw"]) == (
        Origin("notebook"), Origin("project", file, 3),
    )  # fmt: skip


def test_what_the_files_say_besides_stays(session: Session, user: Write, project: Write) -> None:
    """Paths, what is untrusted, and notes."""
    user("")
    project("[providers.lab]\nbase_url = 'https://lab.test'")
    session.set("chain", "n/x")
    before = load_settings()
    after = session.overlay(before)
    assert (after.path, after.project, after.untrusted) == (before.path, before.project, before.untrusted)


def test_unset_leaves_it_to_the_files(session: Session) -> None:
    """And says whether there was anything to leave."""
    files = Settings(chain="u/x")
    session.set("chain", "n/x")
    assert (session.unset("chain"), session.unset("chain"), session.overlay(files)) == (True, False, files)


def test_a_name_changes_its_table(session: Session) -> None:
    """The last meaning counts, over the files' and over the notebook's own."""
    session.set("aliases.fast", "n/x")
    session.set("chains.fast", "n/y,n/z")
    settings = session.overlay(Settings(aliases={"fast": "u/x"}))
    assert (settings.aliases, settings.chains) == ({}, {"fast": "n/y,n/z"})


def test_what_is_set_can_be_seen(session: Session) -> None:
    """As it was given, and not changed that way."""
    session.set("policy.cooldown", "2m")
    assert session.values == {"policy.cooldown": "2m"}
    with pytest.raises(TypeError):
        session.values["chain"] = "n/x"  # type: ignore[index]  # the point of the test


def test_none_is_no_limit(session: Session) -> None:
    """As in Python, where the policy has none."""
    session.set("policy.deadline", None)
    assert session.overlay(Settings(policy={"deadline": 1.0})).policy == {"deadline": None}


def test_a_name_may_hold_dots(session: Session) -> None:
    """The table ends at the first."""
    session.set("chains.gpt-4.1", "n/x")
    assert session.overlay(Settings()).chains == {"gpt-4.1": "n/x"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("chian", "a/b", "the key chian is not known; did you mean chain?"),
        ("chain", 3, 'chain is a text that is not empty, not 3; write chain = "…"'),
        ("cell.temprature", 1, "the key cell.temprature is not known; did you mean temperature?"),
        (
            "cell.temperature",
            "hot",
            "cell.temperature is a number, at least 0, not 'hot'; write temperature = 0.2",
        ),
        (
            "policy.max_retries",
            0,
            "policy.max_retries 0 is out of range: it counts attempts and is at least 1",
        ),
        ("chains.a/b", "a/b", "'a/b' is no name for a chain: give it one without slash, comma or space"),
        ("cell", {"seed": 1}, "cell is a table; name one of its keys, as in cell.name"),
        ("chains.", "a/b", "chains. is a table; name one of its keys, as in chains.name"),
        ("chain.prod", "a/b", "chain.prod is no setting; chain has no keys: did you mean chains.prod?"),
        (
            "zzz.x",
            1,
            "the key zzz is not known; known here: aliases, cell, chain, chains, local, policy, providers",
        ),
        (
            "providers.lab",
            {},
            (
                "providers.lab cannot be set in the notebook; call register_provider, or write it into a "
                "settings file"
            ),
        ),
        (
            "local.models.q",
            "q.gguf",
            (
                "local.models.q cannot be set in the notebook; write the file's whole path, as in "
                "local//path/to/model.gguf, or name it in a settings file"
            ),
        ),
    ],
)
def test_a_refusal_names_key_and_value(session: Session, name: str, value: object, said: str) -> None:
    """Without a file; what was set before stays."""
    session.set("chain", "n/x")
    with pytest.raises(SettingsError) as caught:
        session.set(name, value)
    assert (str(caught.value), caught.value.path, session.overlay(Settings()).chain) == (said, None, "n/x")


def test_what_may_be_a_key_is_not_shown(session: Session) -> None:
    """As in a file."""
    with pytest.raises(SettingsError) as caught:
        session.set("cell.temperature", KEY)
    assert KEY not in str(caught.value)


def test_two_sessions_are_apart(session: Session) -> None:
    """Each notebook has its own."""
    session.set("chain", "n/x")
    assert Session().overlay(Settings(path=Path("x"))) == Settings(path=Path("x"))
