"""Texts of others, made fit to be shown: everything on its way to a screen passes :func:`plain`.

Pure functions of text. No markup in here, and no wording.
"""

from __future__ import annotations

import re

__all__ = ["plain", "well_formed"]

_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def well_formed(text: str) -> str:
    r"""The text with halves of surrogate pairs joined, and those that stand alone replaced by U+FFFD.

    JSON can hold half a character (``"\ud83d"``), and so then can an answer that a model has cut in two;
    UTF-8 cannot, and neither a front end nor a file takes a text that is not UTF-8.

    >>> well_formed("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"
    True
    """
    if text.isascii() or _SURROGATES.search(text) is None:
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def plain(text: str) -> str:
    """A text of any origin, well-formed, without the control characters that terminals act on.

    Lines and tabs stay.
    """
    return _CONTROLS.sub("", well_formed(text).replace("\r\n", "\n").replace("\r", "\n"))
