"""A batch with the engine that refines nothing, as a program that a test can kill.

python fake_batch.py DATA.zarr.zip CIF OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

from midas.io.gsas_zarr import read_cake_file
from midas.refine.batch import BatchOptions, refine_cake
from midas.refine.dispatch import EngineCommand
from midas.refine.phases import check_phases


def main() -> None:
    data, cif, out = (Path(name) for name in sys.argv[1:])
    out.mkdir(exist_ok=True)
    engine = EngineCommand((sys.executable, str(Path(__file__).with_name("fake_engine.py"))), "fake", "1")
    cake = read_cake_file(data)
    options = BatchOptions(check_phases([cif]), out, n_cpus=2, time_limit=20.0, skip_existing=True)
    n_histograms = cake.intensity.shape[0] * cake.intensity.shape[2]
    refine_cake(cake, data, options, engine, list(range(n_histograms)))


if __name__ == "__main__":
    main()
