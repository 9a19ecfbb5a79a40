"""Small image files that are caked together, some of them damaged."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from midas.cake import SeriesFiles
from midas.io.parameters import parse_params

N = 48
TEXT = f"""Lsd 300000
BC 22.2 25.7
px 200
Wavelength 0.2
NrPixelsY {N}
NrPixelsZ {N}
RMin 2
RMax 22
RBinSize 1
EtaBinSize 45
OmegaSumFrames 2
SaveIndividualFrames 0
"""
PARAMETERS = parse_params(TEXT)
N_FILES = 9
BAD = (2, 5)


def write_files(folder: Path, n: int = N_FILES, *, frames: int = 4, bad: tuple[int, ...] = ()) -> SeriesFiles:
    folder.mkdir(exist_ok=True)
    for k in range(n):
        stack = np.random.default_rng(k).poisson(20.0, (frames, N, N)).astype(np.uint16)
        path = folder / f"s_{k:06d}.h5"
        with h5py.File(path, "w") as file:
            file["exchange/data"] = stack
        if k in bad:
            path.write_bytes(path.read_bytes()[:900])
    return SeriesFiles(folder / "s_000000.h5", first_number=0, last_number=n - 1)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
