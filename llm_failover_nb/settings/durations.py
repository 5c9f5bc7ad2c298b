"""Durations as people write them: ``90s``, ``10m``, ``1h30m``. Nothing else."""

from __future__ import annotations

import re

__all__ = ["seconds_in"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[smhd])+")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def seconds_in(text: str) -> float | None:
    """The seconds of a duration, or of a plain number; ``None`` for what is neither.

    >>> seconds_in("1h30m"), seconds_in("300"), seconds_in("soon")
    (5400.0, 300.0, None)
    """
    if _SECONDS.fullmatch(text):
        return float(text)
    if _DURATION.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return None
