"""Reports: one self-contained HTML page with plots to look into, for a colleague, a logbook, a phone."""

from __future__ import annotations

from midas.report.page import Part, check_report, write_page
from midas.report.provenance import Provenance, input_entry

__all__ = ["Part", "Provenance", "check_report", "input_entry", "write_page"]
