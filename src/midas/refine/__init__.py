"""Refining caked patterns: stages as data, one engine behind an interface, and a verdict on every fit."""

from __future__ import annotations

from midas.refine.batch import run_refinement
from midas.refine.job import RefinementJob, RefinementResult
from midas.refine.maps import phase_quantities, plot_results, plot_rwp, quality_quantities, width_quantities
from midas.refine.pictures import draw_pictures
from midas.refine.plot import plot_histogram
from midas.refine.stages import DEFAULT_STAGES, Stage, default_stages
from midas.refine.table import read_summary, table_columns, write_table

__all__ = [
    "DEFAULT_STAGES",
    "RefinementJob",
    "RefinementResult",
    "Stage",
    "default_stages",
    "draw_pictures",
    "phase_quantities",
    "plot_histogram",
    "plot_results",
    "plot_rwp",
    "quality_quantities",
    "read_summary",
    "run_refinement",
    "table_columns",
    "width_quantities",
    "write_table",
]
