"""Arguments of the wrong type refused in a sentence, before they fail somewhere deep inside."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from midas.errors import InputError


def check_type(name: str, value: object, kind: type, *, call: str = "") -> None:
    """Raise InputError unless a value is of a class of midas; `call` says how the function is called.

    Examples
    --------
    >>> check_type("n", 1.5, int, call="f(n)")
    Traceback (most recent call last):
    ...
    midas.errors.InputError: n is a float; expected an int: f(n)
    """
    if isinstance(value, kind):
        return
    own = kind.__module__.startswith("midas")
    expected = f"a midas.{kind.__name__}" if own else f"an {kind.__name__}"
    # Only asked whether it is there: a property may do work, or fail.
    if hasattr(type(value), name) or name in getattr(value, "__dataclass_fields__", ()):
        call = f"give its .{name}"
    raise InputError(f"{name} is {_described(value)}; expected {expected}{': ' if call else ''}{call}")


def number(name: str, value: Any, expected: str = "a number") -> float:
    """Return a value as float; raise InputError where it is no number. Text is none, not even that of a number.

    Examples
    --------
    >>> number("radius_step", 2)
    2.0
    """
    try:
        if isinstance(value, SupportsFloat) and not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InputError(f"{name} is {_shown(value)}; expected {expected}")


def numbers(name: str, values: Any, expected: str = "numbers") -> npt.NDArray[np.float64]:
    """Return values as an array of float64; raise InputError where one is no number. Text is none.

    Examples
    --------
    >>> numbers("positions", [1, 2]).tolist()
    [1.0, 2.0]
    """
    try:
        found = np.asarray(values)
        if found.dtype.kind in "uifb" or found.dtype == object:
            return np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError):
        pass
    raise InputError(f"{name} are {_shown(values)}; expected {expected}")


def whole_number(name: str, value: Any, expected: str = "a whole number") -> int:
    """Return a value as int; raise InputError where it is none, such as 1.5 or None.

    Examples
    --------
    >>> whole_number("dark_frames", 3)
    3
    """
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {_shown(value)}; expected {expected}") from None


MOST_THREADS = 4096
"""No machine runs more at a time; what starts them ends the process where it cannot."""


def thread_count(n_threads: Any) -> int:
    """Return a number of threads; raise InputError where it is no whole number, negative, or more than any machine's.

    Examples
    --------
    >>> thread_count(2)
    2
    """
    expected = f"0 for all, or a whole number of threads up to {MOST_THREADS}"
    found = whole_number("n_threads", n_threads, expected)
    if not 0 <= found <= MOST_THREADS:
        raise InputError(f"n_threads is {found}; expected {expected}")
    return found


def yes_or_no(name: str, value: Any) -> bool:
    """Return a value as bool; raise InputError where it is neither True nor False, nor 0 or 1.

    Examples
    --------
    >>> yes_or_no("variance", True)
    True
    """
    if isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise InputError(f"{name} is {_shown(value)}; expected True or False")


def file_path(name: str, value: Any, expected: str = "the name of a file") -> Path:
    """Return a path; raise InputError where a value is no name.

    Examples
    --------
    >>> file_path("path", "a.h5").name
    'a.h5'
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{name} is {_shown(value)}; expected {expected}")
    return Path(value)


def _described(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _shown(value: object) -> str:
    """Return a value as text where that is short, else what it is."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else _described(value)
