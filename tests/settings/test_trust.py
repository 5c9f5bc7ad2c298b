"""Trust: what counts of a project's file, what does not, and how the user's yes is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llm_failover_nb.engine.chain import parse_chain
from llm_failover_nb.engine.errors import ChainSpecError
from llm_failover_nb.engine.registry import SpecRegistry
from llm_failover_nb.providers.register import from_settings
from llm_failover_nb.settings import ProviderSettings, SettingsError, load_settings, trust
from tests.settings.conftest import Write

LAB = "[providers.lab]\nbase_url = 'https://lab.test/v1'\nkey_env = 'LAB_KEY'\n"
NUMBERS = "[cell]\nseed = 1\n[policy]\ncooldown = 1\n"
ALL = f"chain = 'a/b'\n[chains]\np = 'a/b'\n[aliases]\nf = 'a/b'\n{NUMBERS}{LAB}"
MODEL = "[local.models]\nqwen = 'q.gguf'\n"
ACCEPT = "import sys\nfrom pathlib import Path\nfrom llm_failover_nb.settings import trust\n"


def accept(file: Path) -> None:
    trust.accept(file, file.read_bytes())


# What counts


def test_chains_and_numbers_count_unasked(project: Write) -> None:
    """Nothing in them sends a key anywhere new."""
    project(ALL)
    settings = load_settings()
    assert (settings.chain, settings.chains, settings.aliases, settings.cell["seed"], settings.policy) == (
        "a/b", {"p": "a/b"}, {"f": "a/b"}, 1, {"cooldown": 1},
    )  # fmt: skip


def test_hosts_and_files_do_not(project: Write) -> None:
    """They are left out, and said so, with their lines."""
    file = project(f"{LAB}{MODEL}")
    settings, untrusted = load_settings(), load_settings().untrusted
    assert untrusted is not None
    assert (settings.providers, settings.local, settings.origins) == ({}, {}, {})
    assert untrusted.providers == {"lab": ProviderSettings("https://lab.test/v1", key_env="LAB_KEY")}
    assert (untrusted.models, untrusted.path) == ({"qwen": file.parent / "q.gguf"}, file)
    assert {name: origin.line for name, origin in untrusted.origins.items()} == {
        "providers.lab": 1, "local.models.qwen": 5,
    }  # fmt: skip


@pytest.mark.parametrize("entry", ["local//tmp/x.gguf", "local/~/x.gguf", "sim/echo , local//tmp/x.gguf"])
@pytest.mark.parametrize("name", ["chain", "chains.c", "aliases.c"])
def test_a_chain_that_names_a_file_does_not(user: Write, project: Write, name: str, entry: str) -> None:
    """It would load it as [local.models] does; the user's own stands."""
    user(f"{name} = 'u/x'")
    project(f"{name} = '{entry}'")
    settings = load_settings()
    assert settings.untrusted is not None
    standing = settings.chain if name == "chain" else settings.names["c"]
    assert (standing, settings.untrusted.chains) == ("u/x", {name: entry})


def test_nothing_is_left_out_of_a_file_without_wishes(project: Write) -> None:
    """There is nothing to trust."""
    project("chain = 'local/smollm2'\n[cell]\nseed = 1")
    assert load_settings().untrusted is None


def test_the_users_own_file_needs_no_trust(user: Write, folder: Path) -> None:
    """Of a project's hosts, the user's entry of that name stands."""
    user(LAB)
    (folder / "llm_failover.toml").write_text(LAB.replace("lab.test", "elsewhere.test"))
    assert load_settings().providers["lab"].base_url == "https://lab.test/v1"


def test_a_trusted_file_counts_whole(project: Write) -> None:
    """With all of its parts."""
    file = project(f"chain = 'local//tmp/x.gguf'\n{LAB}{MODEL}")
    accept(file)
    settings = load_settings()
    assert (settings.chain, list(settings.providers), list(settings.local), settings.untrusted) == (
        "local//tmp/x.gguf", ["lab"], ["qwen"], None,
    )  # fmt: skip


def test_a_changed_file_is_not_trusted(project: Write) -> None:
    """Not even by a blank; as it was, it is trusted again."""
    accept(project(LAB))
    project(f"{LAB}\n")
    changed = load_settings().untrusted is not None
    project(LAB)
    assert (changed, load_settings().untrusted) == (True, None)


def test_the_same_file_elsewhere_is_not_trusted(project: Write, folder: Path) -> None:
    """A copy of somebody's may mean another host's file by the same words."""
    accept(project(LAB))
    (folder / "copy" / ".git").mkdir(parents=True)
    (folder / "copy" / "llm_failover.toml").write_text(LAB)
    assert not trust.trusted(folder / "copy" / "llm_failover.toml", LAB.encode())


def test_withdrawn_trust_is_gone(project: Write) -> None:
    """And a second time there is nothing to withdraw."""
    file = project(LAB)
    accept(file)
    first = trust.withdraw(file)
    assert (first, trust.withdraw(file), load_settings().untrusted is None) == (True, False, False)


def test_pyproject_is_held_to_trust(folder: Path, user: Write) -> None:
    """Under the same rule."""
    file = folder / "pyproject.toml"
    file.write_text(LAB.replace("[", "[tool.llm_failover."))
    before = load_settings().untrusted
    accept(file)
    assert (before is not None, list(load_settings().providers)) == (True, ["lab"])


def test_the_file_is_read_once(project: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was hashed is what is used, though another stands there by then."""
    file = project(LAB)
    accept(file)

    def swapped(path: Path, content: bytes) -> bool:
        file.write_text(LAB.replace("lab.test", "evil.test"))
        return asked(path, content)

    asked = trust.trusted
    monkeypatch.setattr(trust, "trusted", swapped)
    assert load_settings().providers["lab"].base_url == "https://lab.test/v1"


# What is said where it is asked for


def said(spec: str) -> str:
    with pytest.raises(ChainSpecError) as caught:
        parse_chain(spec, registry=SpecRegistry())
    return str(caught.value)


def test_an_untrusted_provider_is_not_unknown(project: Write) -> None:
    """The error says what to do, and nothing was made of it."""
    file = project(LAB)
    words = f"defined in {file}, which is not trusted yet; run %llm trust to see what it wants and allow it"
    assert (said("lab/x"), from_settings()) == (f"'lab/x': the provider 'lab' is {words}", {})


def test_an_untrusted_alias_is_not_unknown(project: Write) -> None:
    """Likewise."""
    file = project("[aliases]\nbig = 'local//tmp/x.gguf'")
    assert said("big").startswith(f"'big' is defined in {file}, which is not trusted yet; run %llm trust")


def test_an_untrusted_model_is_not_unknown(project: Write) -> None:
    """Likewise."""
    file = project(MODEL)
    assert said("local/qwen").startswith(f"local/qwen: this model is defined in {file}, which is not trusted")


def test_a_built_in_name_stays_where_it_is(project: Write) -> None:
    """An untrusted entry neither moves nor hides it."""
    project(LAB.replace("lab]", "openai]"))
    info = next(info for info in SpecRegistry().providers() if info.name == "openai")
    assert (info.base_url, info.source) == ("https://api.openai.com/v1", "built in")


# The list


def test_the_list_is_for_the_user_alone(configuration: Path) -> None:
    """To read and to write."""
    trust.accept(Path("/a"), b"x")
    assert (trust.trust_path(), trust.trust_path().stat().st_mode & 0o777) == (
        configuration / "trusted.json", 0o600,
    )  # fmt: skip


def test_the_list_is_not_where_the_settings_are(
    configuration: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a repository could bring one along."""
    monkeypatch.setenv("LLM_FAILOVER_NB_SETTINGS", str(folder / "settings.toml"))
    assert trust.trust_path().parent == configuration


DAMAGED = ["", "{", "[]", "{}", '{"trusted": []}', '{"trusted": {"/a": 1}}', "[" * 99_999, "\xff"]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_list_trusts_nothing_and_says_so(project: Write, text: str) -> None:
    """In the settings' notes, where something was left out for it."""
    file = project(LAB)
    accept(file)
    trust.trust_path().write_bytes(text.encode("latin-1"))
    settings = load_settings()
    assert settings.untrusted is not None
    assert settings.notes == (
        (
            f"{trust.trust_path()}: the list of trusted files is damaged; delete it, and trust anew; until "
            "then nothing is trusted"
        ),
    )


def test_a_damaged_list_is_begun_anew(project: Write) -> None:
    """By the next yes."""
    file = project(LAB)
    accept(file)
    trust.trust_path().write_text("{")
    accept(file)
    assert (load_settings().untrusted, trust.problem()) == (None, "")


def test_a_list_that_cannot_be_read_trusts_nothing(configuration: Path) -> None:
    """And says so."""
    trust.trust_path().mkdir(parents=True)
    assert (trust.trusted(Path("/a"), b""), "cannot be read: Is a directory" in trust.problem()) == (
        False,
        True,
    )


def test_a_list_that_cannot_be_written_is_told(configuration: Path) -> None:
    """What was there before stays, and no half of a list beside it."""
    configuration.mkdir(parents=True)
    trust.trust_path().mkdir()
    with pytest.raises(SettingsError, match="cannot be written"):
        trust.accept(Path("/a"), b"")
    assert sorted(path.name for path in configuration.iterdir()) == ["trusted.json", "trusted.lock"]


def test_a_path_is_the_same_from_everywhere(configuration: Path, folder: Path) -> None:
    """Written whole."""
    trust.accept(Path("x.toml"), b"x")
    assert trust.trusted(folder / "x.toml", b"x")


def test_concurrent_writers_lose_nothing(configuration: Path) -> None:
    """Three processes, forty files each."""
    script = ACCEPT + "for n in range(40): trust.accept(Path(f'/{sys.argv[1]}/{n}'), b'x')"
    root = Path(trust.__file__).parents[2]
    writers = [subprocess.Popen([sys.executable, "-c", script, str(number)], cwd=root) for number in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 3
    assert len(json.loads(trust.trust_path().read_text())["trusted"]) == 120
