"""How a settings file is refused, for the tests of what it may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_failover_nb.settings import SettingsError, load_settings


def refusal(file: Path, text: str) -> SettingsError:
    """What reading a file with this text raises."""
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    return caught.value
