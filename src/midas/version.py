"""The version of the package installed."""

from __future__ import annotations

import functools


@functools.cache
def version() -> str:
    """Return the version from the package's metadata, which are read only when asked: that takes 40 ms."""
    from importlib.metadata import version as version_of

    return version_of("midas-xrd")
