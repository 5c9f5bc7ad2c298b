"""What the magics of one shell know between cells: the settings as they stand, and what failed last.

Settings are read for each cell, so that an edited file counts at once; what the notebook has set stays here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from llm_failover_nb.engine.chain import process_registry
from llm_failover_nb.engine.errors import FailoverError
from llm_failover_nb.engine.policy import Policy, get_failover_defaults
from llm_failover_nb.notebook.failures import Failures
from llm_failover_nb.notebook.settings_file import SettingsFile
from llm_failover_nb.providers import local
from llm_failover_nb.settings import CELL_POLICY, Session, Settings, load_settings

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
    """One shell's.

    Args:
        session: What the notebook has set, from magics that these replace.
    """

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or Session()
        self.failures: Failures | None = None
        self.error: BaseException | None = None
        self._file = SettingsFile(process_registry)

    def settings(self) -> Settings:
        """The settings as they are now, the registry brought to them.

        Raises:
            SettingsError: When a file cannot be used.
        """
        settings = load_settings()
        self._file.follow(settings)
        return self.session.overlay(_set_in_python().overlay(settings))

    def wants_awaited(self) -> bool:
        """Whether the settings leave cells to be awaited."""
        try:
            return self.settings().cell.get("await_cells", True) is not False
        except FailoverError:
            return False  # the cell will say what is wrong with them

    def withdraw(self) -> None:
        """Take back what the settings brought into the registry."""
        self._file.follow(Settings())


def default_choice(settings: Settings) -> Choice:
    """The chain of a cell that names none."""
    if settings.chain is not None:
        return Choice(settings.chain)
    if local.available():
        what = f"no chain is set, so {_LOCAL} answers: a small model on this machine, often wrong"
        return Choice(_LOCAL, f"{what}; {_CHOOSE}")
    what = f"no chain is set and no local model is installed, so {_ECHO} only repeats the prompt"
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
