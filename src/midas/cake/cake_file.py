"""Frames in, `.zarr.zip` out: each sum is written when its last frame is there; the cake can be read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.axes import axis_of_radius
from midas.cake.corrections import Corrections
from midas.cake.frame_source import opened
from midas.cake.inputs import PixelArrays
from midas.cake.map import CakeMap
from midas.cake.nexus import files_of
from midas.cake.options import IntegrationOptions
from midas.cake.prepared import Floats
from midas.cake.result import Cake, axes_of, cake_metadata, described, instrument_parameters, map_rows
from midas.cake.sums import Run, Segment, about_sums, prepare_run, sum_frames
from midas.checks import check_type, file_path, yes_or_no
from midas.errors import FormatError, InputError
from midas.geometry import FloatArray, Geometry
from midas.grid import CakeGrid
from midas.io.atomic import keep_inputs
from midas.io.gsas_zarr import SOURCE, CakeFileWriter, FrameSum, cake_file_writer, read_cake_file
from midas.io.image_source import CONDITIONS


@dataclass(frozen=True)
class ZarrOptions:
    """What a `.zarr.zip` holds beside the sums.

    Parameters
    ----------
    instrument
        Any of Polariz, SH_L, U, V, W, X, Y, Z [centidegrees] that is known better than GSAS-II's defaults; default
        none.
    sum_images
        True: also the sum of all frames (`SumImages 1`); default False.
    source
        What tells what the file was made of, for `midas.io.caked_zip.recorded_source`; default "", nothing.

    Raises
    ------
    InputError
        An argument is of the wrong type.
    """

    instrument: Mapping[str, float] = field(default_factory=dict)
    sum_images: bool = False
    source: str = ""

    def __post_init__(self) -> None:
        """Check the types."""
        if not isinstance(self.instrument, Mapping):
            raise InputError(f"instrument is {self.instrument!r}; expected a mapping such as {{'U': 1.2}}")
        yes_or_no("sum_images", self.sum_images)


@dataclass(frozen=True, eq=False)
class WrittenCake:
    """A cake in its file."""

    path: Path
    """The `.zarr.zip`."""
    frames: npt.NDArray[np.int64]
    """Shape (n_sums,): frames really summed."""
    grid: CakeGrid
    """Its bins."""
    geometry: Geometry
    """The geometry it was made with."""
    bin_pixels: FloatArray
    """As in `Cake`."""
    eta_overlap: FloatArray
    """As in `Cake`."""
    normalized: bool
    """As in `Cake`."""
    corrections: Corrections
    """As in `Cake`."""

    def __str__(self) -> str:
        """Say in one line what is in it, as a `Cake` does."""
        two_theta = axis_of_radius(self.grid.radius_centers(self.geometry), "2theta", self.geometry)
        return f"Cake({described(self.frames, two_theta, len(self.grid.eta_centers))})"

    def read(self) -> Cake:
        """Return the cake, read from the file; without individual frames, which `read_cake_file` gives.

        Raises
        ------
        FormatError
            The file is gone, or another is in its place.
        """
        content = read_cake_file(self.path, individual=False)
        if content.bin_area.shape != self.grid.shape or len(content.frames) != len(self.frames):
            raise FormatError(
                f"{self.path} holds {len(content.frames)} sums of {content.bin_area.shape} bins, not the "
                f"{len(self.frames)} of {self.grid.shape} that were written; another file is in its place"
            )
        return Cake(
            intensity=content.intensity,
            sigma=None if content.variance is None else np.sqrt(content.variance),
            bin_area=content.bin_area,
            bin_pixels=self.bin_pixels,
            frames=content.frames,
            frame_numbers=content.frame_numbers,
            first_omega=content.first_omega,
            last_omega=content.last_omega,
            eta_overlap=self.eta_overlap,
            normalized=self.normalized,
            corrections=self.corrections,
            geometry=self.geometry,
            **axes_of(self.grid, self.geometry),
            **{name: getattr(content, name) for name in CONDITIONS},
        )


def integrate_to_zarr(
    frames: Any,
    cake_map: CakeMap,
    path: Path | str,
    *,
    stored: ZarrOptions | None = None,
    dark: npt.ArrayLike | None = None,
    flat: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    options: IntegrationOptions | None = None,
    segments: Sequence[Segment] | None = None,
    n_threads: int = 0,
) -> WrittenCake:
    """Cake detector frames into a `.zarr.zip` sum by sum and return where it is, with the way back to the cake.

    The file is that of `integrate_with_map` and `Cake.to_zarr`; it is there whole, or not at all. Memory does not grow
    with the number of frames or sums, but for some kilobytes each.

    Parameters
    ----------
    frames, cake_map, dark, flat, mask, options, n_threads
        As `integrate_with_map`; `IntegrationOptions(individual=True)` also writes each frame's cake.
    path
        Name, which must end in `.zarr.zip`.
    stored
        `ZarrOptions`; None takes the defaults.
    segments
        The scans that follow one another in the frames, each a `Segment` with omegas of its own: no sum goes over the
        border of two. None: all frames are one.

    Raises
    ------
    InputError, FormatError
        As `integrate_with_map` and `Cake.to_zarr`; `path` is a file that the frames come from.
    OutputError
        The folder is missing or cannot be written to, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> from midas import Detector, build_map
    >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    >>> cake_map = build_map(g, Detector((41, 41), 200), CakeGrid(2, 18, 2, eta_step=90))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = integrate_to_zarr(np.full((3, 41, 41), 5.0), cake_map, Path(folder) / "a.zarr.zip")
    ...     written.read()
    Cake(3 sums of 3 frames, 8 radius x 4 eta bins, 2theta 0.034 to 0.195 deg)
    """
    check_type("cake_map", cake_map, CakeMap, call="made by build_map")
    stored = ZarrOptions() if stored is None else stored
    check_type("stored", stored, ZarrOptions, call="ZarrOptions(sum_images=True)")
    path = file_path("path", path, "the name of the .zarr.zip to write")
    geometry, grid = cake_map.geometry, cake_map.grid
    instrument = instrument_parameters(geometry, stored.instrument)
    with opened(frames) as stack:
        keep_inputs([path], files_of(stack))
        run = prepare_run(stack, cake_map, PixelArrays(dark, flat, mask), options, n_threads, segments)
        about = about_sums(run, stack)
        corrections = run.options.corrections or Corrections()
        metadata = cake_metadata(geometry, normalized=run.options.normalize, corrections=corrections)
        if stored.source:
            metadata[SOURCE] = stored.source
        with cake_file_writer(path, metadata, instrument, sum_images=stored.sum_images) as writer:
            bin_area, bin_pixels = sum_frames(run, stack, _InFile(run, about, writer))
            writer.finish(*map_rows(grid.radius_centers(geometry), grid.eta_centers, geometry), bin_area)
    return WrittenCake(
        path=path,
        frames=about["frames"],
        grid=grid,
        geometry=geometry,
        bin_pixels=bin_pixels,
        eta_overlap=np.array(cake_map.core.eta_overlap),
        normalized=run.options.normalize,
        corrections=corrections,
    )


class _InFile:
    """The sums of a run as they go into the file, and each frame where the options ask for them."""

    def __init__(self, run: Run, about: Mapping[str, npt.NDArray[Any]], writer: CakeFileWriter) -> None:
        self._options, self._omega = run.options, run.omega
        self._about, self._writer = about, writer

    def add_frame(self, frame: int, intensity: Floats) -> None:
        if self._options.individual:
            number = self._options.first_frame_number + frame
            self._writer.add_frame(intensity, number, float(self._omega[frame]))

    def add_sum(self, k: int, intensity: FloatArray, variance: FloatArray) -> None:
        about = self._about
        total = FrameSum(
            intensity=intensity,
            variance=np.sqrt(variance) ** 2 if self._options.variance else None,  # as from the sigma of a cake
            frames=int(about["frames"][k]),
            frame_number=int(about["frame_numbers"][k]),
            **{name: float(about[name][k]) for name in ("first_omega", "last_omega", *CONDITIONS)},
        )
        self._writer.add_sum(total)
