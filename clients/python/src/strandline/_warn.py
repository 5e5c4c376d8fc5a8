"""Warnings of what a node says besides its answer, at the line of the program that asked."""

import sys
import warnings
from collections.abc import Iterable
from types import FrameType

from .errors import StrandlineWarning


def warn(sentences: Iterable[str]) -> None:
    """One warning each."""
    level, frame = 1, _caller()
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    for sentence in sentences:
        warnings.warn(sentence, StrandlineWarning, stacklevel=level)


def _caller() -> FrameType | None:
    return sys._getframe(1)
