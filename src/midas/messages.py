"""What is said to the user beside results: warnings at the line of the caller, and what log records carry."""

from __future__ import annotations

import sys
import warnings

IN_RESULT = "in_result"
"""Attribute of records that the result says again: a program that prints the result need not print them."""


class CallerWarning(UserWarning):
    """What midas warns of; a program says it as it says all else."""


def warn_caller(message: str) -> None:
    """Warn, with a UserWarning, at the line outside of midas that led here, however deep."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "midas":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, CallerWarning, stacklevel=level)
