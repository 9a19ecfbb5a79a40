"""Compares GSAS-II's derivatives with differences of the pattern: run by the interpreter that has it, prints JSON.

    python derivatives.py WORKER.py HOME PATH JOB.json NAME...

For each parameter NAME, projection of the analytic derivative onto the numeric one, 1 when it is right.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np


def main() -> None:
    worker_file, home, path, job, *names = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("worker", worker_file)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    worker.prepare_home(Path(home))
    os.chdir(home)
    with contextlib.redirect_stdout(sys.stderr):
        scripting = worker.import_gsas2(path or None)
        text = worker.load_neighbour("gsas2_text")
        kind = worker.load_neighbour("gsas2_model").Model
        shared = worker.load_neighbour("gsas2_sharing").SHARED
        model = kind(
            scripting, json.loads(Path(job).read_text()), Path(home), text, shared, worker.load_neighbour("cell_esds")
        )
        found = compare(scripting, model, names)
    print(json.dumps(found))


def compare(scripting, model, names):
    prefix = scripting.__name__.removesuffix("GSASIIscriptable")
    squares, derivatives = sys.modules[f"{prefix}GSASIImath"], sys.modules[f"{prefix}GSASIIstrMath"]
    kept, least_squares = {}, squares.HessianLSQ

    def watched(function, start, Hess, args, **options):
        kept.update(function=function, start=np.array(start), hessian=Hess, args=args)
        return least_squares(function, start, Hess=Hess, args=args, **options)

    model.refine({"background", "scale"}, 20)
    squares.HessianLSQ = watched
    model.refine({"background", "scale", "cell", "u", "v", "w", "x", "y"}, 20)
    vary, start, function, args = kept["args"][3], kept["start"], kept["function"], kept["args"]
    weight = np.sqrt(model.weights)
    original, seen = derivatives.getPowderProfileDerv, {}

    def kept_copy(given):
        answer = original(given)
        seen["jacobian"] = np.array(answer[0])
        return answer

    derivatives.getPowderProfileDerv = kept_copy
    function(start, *args)
    kept["hessian"](start, *args)
    ratios = {}
    for name in names:
        i = vary.index(name)
        step = 1e-5 * abs(start[i])
        moved = []
        for sign in (1.0, -1.0):
            values = start.copy()
            values[i] += sign * step
            function(values, *args)  # twice: structure factors are those of the cell before
            values[-1] *= 1.0 + 1e-12
            moved.append(np.array(function(values, *args)))
        numeric = (moved[0] - moved[1]) / (2.0 * step)
        analytic = np.array(seen["jacobian"][i]) * weight
        ratios[name] = float(analytic @ numeric / (numeric @ numeric))
    return ratios


if __name__ == "__main__":
    main()
