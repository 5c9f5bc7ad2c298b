"""What the magics of one shell know between cells: the settings as they stand, and what failed last.

Settings are read for each cell, so that an edited file counts at once; what the notebook has set stays here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.policy import Policy, get_failover_defaults
from llm_failover_nb.engine.secret import Secret
from llm_failover_nb.notebook.failures import Failures
from llm_failover_nb.notebook.settings_file import SettingsFile
from llm_failover_nb.providers import local
from llm_failover_nb.providers.endpoint import secret_in
from llm_failover_nb.providers.presets import PRESETS
from llm_failover_nb.settings import CELL_POLICY, Session, Settings, load_settings, untrusted_words

if TYPE_CHECKING:
    from llm_failover_nb.notebook.panel import Panel

__all__ = ["Choice", "State", "default_choice", "policy_of"]

_LOCAL = "local/smollm2"
_ECHO = "sim/echo"
_CHOOSE = "to choose, write %%llm chain=provider/model, or %llm chain provider/model for all cells"


@dataclass(frozen=True, slots=True)
class Choice:
    """A chain as text, and what to tell the user about it where nobody chose it."""

    chain: str
    note: str = ""


class State:
    """One shell's."""

    def __init__(self) -> None:
        self.session = Session()
        self.failures: Failures | None = None
        self.error: BaseException | None = None
        self.panel: Panel | None = None
        self._file = SettingsFile(process_registry)
        self._keys: dict[str, Secret | None] = {}

    def settings(self) -> Settings:
        """The settings as they are now, the registry brought to them.

        Raises:
            SettingsError: When a file cannot be used.
        """
        settings = load_settings()
        self._file.follow(settings)
        self._mask_keys(settings)
        return self.session.overlay(_set_in_python().overlay(settings))

    def _mask_keys(self, settings: Settings) -> None:
        """Let the keys of this environment be masked before any of them is used.

        A prompt may hold one, and an output is saved with the notebook.
        """
        variables = {preset.key_env for preset in PRESETS.values()}
        variables |= {provider.key_env for provider in settings.providers.values()}
        for name in filter(None, variables):
            self._keys[name] = secret_in(name, known=self._keys.get(name))

    def wants_awaited(self) -> bool:
        """Whether the settings leave cells to be awaited."""
        try:
            return self.settings().cell.get("await_cells", True) is not False
        except FailoverError:
            return False  # the cell will say what is wrong with them

    def withdraw(self) -> None:
        """Close the panel; take back what the settings and named chains brought into the registry."""
        if self.panel is not None:
            self.panel.close()
            self.panel = None
        self._file.follow(Settings())
        for name in self.session.values:
            table, _, chain = name.partition(".")
            if table == "chains":
                process_registry.unalias(chain)


def default_choice(settings: Settings) -> Choice:
    """The chain of a cell that names none."""
    if settings.chain is not None:
        return Choice(settings.chain)
    left_out = settings.untrusted
    why = "no chain is set"
    if left_out is not None and "chain" in left_out.origins:
        why = f"the chain is {untrusted_words(left_out)}"
    if local.available():
        what = f"{why}, so {_LOCAL} answers: a small model on this machine, often wrong"
        return Choice(_LOCAL, f"{what}; {_CHOOSE}")
    what = f"{why} and no local model is installed, so {_ECHO} only repeats the prompt"
    return Choice(_ECHO, f"{what}; {_CHOOSE}")


def policy_of(settings: Settings) -> Policy:
    """The policy of a cell: the settings', and ``restart`` amid an answer, since a cell owns its display."""
    given: Mapping[str, Any] = {**CELL_POLICY, **settings.policy}
    return Policy(backoff=get_failover_defaults().backoff, **given)


def _set_in_python() -> Session:
    """What ``set_failover_defaults`` has changed, as far as the settings can hold it."""
    session, given, plain = Session(), get_failover_defaults(), Policy()
    for field in fields(Policy):
        value = getattr(given, field.name)
        if field.init and field.name != "backoff" and value != getattr(plain, field.name):
            session.set(f"policy.{field.name}", "none" if value is None else value)
    return session
