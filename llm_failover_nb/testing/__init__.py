"""Public fakes, for tests of code that uses the package: a clock, a provider, a server. Names alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_failover_nb.testing.fakes import FakeClock, ScriptedProvider
    from llm_failover_nb.testing.fault_server import FaultServer

__all__ = ["FakeClock", "FaultServer", "ScriptedProvider"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "fault_server" if name == "FaultServer" else "fakes"
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
