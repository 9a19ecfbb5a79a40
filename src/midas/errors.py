"""The errors midas raises, each also the builtin it refines."""

from __future__ import annotations


class MidasError(Exception):
    """Base of every error midas raises on purpose."""


class InputError(MidasError, ValueError):
    """An argument is missing, of the wrong type, shape or range."""


class FormatError(MidasError, ValueError):
    """A file is missing, truncated, corrupt or not of the format expected."""


class OutputError(MidasError, OSError):
    """A file cannot be written: its folder is missing or read-only, or the disk is full."""


class GeometryError(MidasError, ValueError):
    """A detector geometry is impossible or ambiguous in its units."""


class FitError(MidasError, RuntimeError):
    """A fit has no answer to return (not converging is a result, not an error)."""


class ClusterError(MidasError, RuntimeError):
    """The cluster that does the work is lost; what it had finished is kept."""

    n_done: int | None = None
    """Histograms or files that were finished before; None where nobody counted them."""


class RefinementError(MidasError, RuntimeError):
    """A refinement cannot be run, for instance because GSAS-II is not installed."""
