"""What GSAS-II's own reader makes of a caked file, as JSON; run by the interpreter that GSAS-II lives in."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("worker", type=Path)
    parser.add_argument("home", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("data")
    parser.add_argument("--path")
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("worker", options.worker)
    worker = importlib.util.module_from_spec(spec)
    sys.modules["worker"] = worker
    spec.loader.exec_module(worker)
    worker.prepare_home(options.home)
    scripting = worker.import_gsas2(options.path, plain=True)  # with all its readers
    project = scripting.G2Project(newgpx=str(options.home / "reader.gpx"))
    project.add_powder_histogram(options.data, None, fmthint="MIDAS zarr", multiple=True)
    found = []
    for histogram in project.histograms():
        x, y, weights = (values.tolist() for values in histogram.data["data"][1][:3])
        values = histogram.data["Instrument Parameters"][0]
        instrument = {key: float(values[key][1]) for key in ("Lam", "Polariz.", "SH/L", "U", "V", "W", "X", "Y", "Z")}
        entry = {"name": histogram.name, "x": x, "y": y, "weights": weights, "instrument": instrument}
        sample = {key: histogram.data["Sample Parameters"][key] for key in ("Phi", "Gonio. radius")}
        found.append({**entry, "azimuth": float(values["Azimuth"][1]), **sample})
    options.output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
