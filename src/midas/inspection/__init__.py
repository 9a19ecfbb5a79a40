"""What is in a file, and what is obviously wrong with it."""

from __future__ import annotations

from midas.inspection.any_file import inspect
from midas.inspection.result import Fact, FrameLook, Inspection

__all__ = ["Fact", "FrameLook", "Inspection", "inspect"]
