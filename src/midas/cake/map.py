"""The map from pixels to cake bins, built once for a geometry, a detector and a grid, then applied to frames."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas import _core
from midas.cake.corrections import Corrections
from midas.cake.frame_source import are_transformed, as_stack
from midas.cake.inputs import PixelArrays, frame_input
from midas.cake.map_file import map_path, write_map
from midas.cake.nexus import files_of, write_cakes
from midas.cake.pixels import Dark, FrameInput, RawLayout, check_shape
from midas.cake.prepared import BATCH, CakedFrames, PreparedMap, Recipe
from midas.cake.stream import caked_blocks
from midas.detector import Detector
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry
from midas.grid import CakeGrid
from midas.shown import html_table

if TYPE_CHECKING:
    import scipy.sparse

    from midas.cake.robust import RobustOptions

_MOST_BYTES = 1 << 30  # of the frames of a block and their cakes
# Of a frame: intensity and variance 16, sums of frames side by side up to 16, and what adding up takes.
_BYTES_A_BIN = 40


@dataclass(frozen=True, eq=False)
class CakeMap:
    """How much of each pixel lies in each bin: made by `build_map`, applied to frames with `apply`.

    Bins are numbered R index · n_eta + eta index. Pickling keeps geometry, detector and grid and builds the map again:
    the same bytes, without sending them.

    Examples
    --------
    >>> from midas.testing import SHAPE, TRUTH
    >>> from midas.cake.build import build_map
    >>> cake_map = build_map(TRUTH, Detector(SHAPE, 200.0), CakeGrid(radius_min=20, radius_max=100, radius_step=1))
    >>> cake_map.shape, round(float(cake_map.bin_area.sum()) / (100**2 - 20**2), 4)  # whole rings: pi
    ((80, 72), 3.1416)
    """

    geometry: Geometry
    """The geometry it was built for."""
    detector: Detector
    """Shape and mask it was built for."""
    grid: CakeGrid
    """Its bins."""
    transformed: bool
    """True: frames given to `apply` have the geometry's image transforms applied; False: they are as read from file."""
    key: str
    """SHA-256 of all that shaped the map: geometry, detector, mask, grid, transforms, algorithm."""
    core: _core.CakeMap = field(repr=False)
    """The compiled map."""
    layout: RawLayout = field(repr=False)
    """Where each pixel is in the frames given to `apply`."""
    _plain: dict[tuple[Any, ...] | None, PreparedMap] = field(default_factory=dict, init=False, repr=False)
    """Kept: the map made ready for frames without arrays of their own (dark, mask, corrections)."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of bins (n_radius, n_eta)."""
        return self.grid.shape

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Rows and columns of the frames that `apply` takes."""
        return self.layout.shape

    @property
    def bin_area(self) -> FloatArray:
        """Area of the pixels in each bin, shape (n_radius, n_eta) [px²]; 0 where there is none.

        Of pixels mapped to (R, η), R = (L/px) tan(2θ), as on a detector across the beam without distortion: px² for
        grids of any unit, π(R₂² - R₁²) for a whole ring; more or less than 1 px² for a pixel of a tilted detector.
        """
        return np.asarray(self.core.bin_area.reshape(self.shape))

    @property
    def bin_pixels(self) -> npt.NDArray[np.int32]:
        """Number of pixels with a part in each bin, shape (n_radius, n_eta)."""
        return np.asarray(self.core.bin_pixels.reshape(self.shape))

    def apply(
        self,
        frames: Any,
        *,
        dark: npt.ArrayLike | None = None,
        flat: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        corrections: Corrections | None = None,
        variance: bool = False,
        normalize: bool = True,
        negative_counts: bool = False,
        n_threads: int = 0,
    ) -> CakedFrames:
        """Return a frame or a stack of frames summed over the bins.

        Masked pixels, negative values, the largest value of an unsigned type, values that are not finite and those at
        or above the detector's saturation are left out of sum and area. The result is the same for any n_threads. A
        call with dark, flat, mask or corrections makes the map ready for them, which takes as long as many frames: give
        `apply_each` frames that come one by one.

        Parameters
        ----------
        frames
            Shape (n_z, n_y) or (n_frames, n_z, n_y): an array, or anything of the buffer or array interface, or that
            gives an array for frames[:]. uint8, uint16, uint32, int16, int32, float32 and float64 are read in place
            where they are C-contiguous; other integers and floating point numbers are taken as float64. Masked values
            of a masked array are left out.
        dark
            Shape (n_z, n_y), or a stack that is averaged; subtracted. A pixel without a valid dark is left out.
        flat
            Shape (n_z, n_y), the response of each pixel, 1 for the mean one; divided by, without an error of its own. A
            pixel where it is 0 or less, not finite, or the largest value of an unsigned type is left out.
        mask
            Shape (n_z, n_y), non-zero where a pixel must not be used; on top of the detector's. Flat and mask may be
            stacks of one, as files have them.
        corrections
            `Corrections` for solid angle and polarization; None is for neither.
        variance
            True: also the variance. A count's variance is the count, without a floor: a bin of zeros has variance 0.
            The dark's part is that of a frame whose pixels are all counts, in every frame.
        normalize
            False: the sums are not divided by the area.
        negative_counts
            True: negative values are counts, as in frames whose dark is subtracted, and not marks of bad pixels.
        n_threads
            0 uses all.

        Raises
        ------
        InputError
            Frame, dark, flat or mask have another shape than the map's `frame_shape`, or an unusable dtype.

        Warns
        -----
        UserWarning
            The flat is far from 1.

        Examples
        --------
        >>> from midas import build_map
        >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
        >>> cake_map = build_map(g, Detector((21, 21), 200), CakeGrid(0, 9, 3, eta_step=90))
        >>> cake_map.apply(np.full((21, 21), 7, dtype=np.uint16)).intensity.round(6)[0].tolist()
        [7.0, 7.0, 7.0, 7.0]
        """
        self.check_transforms(frames)
        images = as_stack(frames)
        check_shape(images.shape, self.frame_shape)
        arrays = PixelArrays(dark, flat, mask, corrections)
        recipe = self._recipe(arrays, variance, normalize, negative_counts, n_threads)
        result = recipe.apply(images[None] if images.ndim == 2 else images)
        return result[0] if images.ndim == 2 else result

    def apply_each(
        self,
        frames: Any,
        *,
        dark: npt.ArrayLike | None = None,
        flat: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        corrections: Corrections | None = None,
        variance: bool = False,
        normalize: bool = True,
        negative_counts: bool = False,
        n_threads: int = 0,
    ) -> Iterator[CakedFrames]:
        """Return an iterator over the frames' cakes, reading some frames at a time: 16 for each thread.

        The cakes are those of `apply`, one after another without the axis of frames. Data sets in chunks are read by
        whole chunks, the next ones while the present ones are summed; compressed frames of HDF5, one to a chunk, are
        unpacked and summed by all threads. Frames before one that fails come out first.

        Parameters
        ----------
        frames
            Shape (n_z, n_y) or (n_frames, n_z, n_y): anything that slices to arrays (numpy, `midas.Frames`, data sets
            of HDF5, zarr and dask) or has the buffer or array interface; or an iterable of 2-D arrays, as many as come.
        dark, flat, mask, corrections, variance, normalize, negative_counts, n_threads
            As for `apply`.

        Raises
        ------
        InputError, FormatError
            As `apply`, and where a frame cannot be read; the message says its number, counted from 0. At once where
            that can be seen without reading; else from the iterator.

        Examples
        --------
        >>> from midas import build_map
        >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
        >>> cake_map = build_map(g, Detector((21, 21), 200), CakeGrid(0, 9, 9, eta_step=360))
        >>> frames = (np.full((21, 21), n, dtype=np.uint16) for n in range(3))
        >>> [round(float(caked.intensity[0, 0]), 6) for caked in cake_map.apply_each(frames)]
        [0.0, 1.0, 2.0]
        """
        self.check_transforms(frames)
        arrays = PixelArrays(dark, flat, mask, corrections)
        recipe = self._recipe(arrays, variance, normalize, negative_counts, n_threads)
        blocks = caked_blocks(recipe.apply, frames, self.frame_shape, self.block_size(n_threads), n_threads=n_threads)
        return (caked[i] for caked in blocks for i in range(len(caked)))

    def apply_to_file(
        self,
        frames: Any,
        path: Path | str,
        *,
        dark: npt.ArrayLike | None = None,
        flat: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        corrections: Corrections | None = None,
        variance: bool = False,
        normalize: bool = True,
        negative_counts: bool = False,
        n_threads: int = 0,
    ) -> Path:
        """Write the cakes of frames to an HDF5 file, in memory that does not grow with the stack; return its path.

        The file holds one NeXus NXdata, `entry/cake`: `intensity` and, with `variance`, `sigma`, each of shape
        (n_frames, n_radius, n_eta), float32, NaN where a bin has no valid pixel; `bin_area`, shape (n_radius, n_eta),
        the mean over frames of the area of the valid pixels [px²], `bin_pixels` that of their number; the axes `frame`,
        `radius` [px], `two_theta` [deg], `q` [Å⁻¹] and `eta` [deg], bin centres, each but `frame` with its `_edges`.
        The attribute `geometry` is JSON, in the units of `Geometry`. The file appears when it is whole; after an error
        nothing is left.

        Parameters
        ----------
        frames
            As for `apply_each`.
        path
            The file; one that is there is replaced.
        dark, flat, mask, corrections, variance, normalize, negative_counts, n_threads
            As for `apply`.

        Raises
        ------
        InputError, FormatError
            As `apply_each`; also where no bin holds a valid pixel, or `path` is a file that the frames come from.
        OutputError
            The folder is missing or cannot be written to, or the disk is full.

        Examples
        --------
        >>> from midas import build_map
        >>> import h5py, tempfile
        >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
        >>> cake_map = build_map(g, Detector((21, 21), 200), CakeGrid(0, 9, 3, eta_step=90))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = cake_map.apply_to_file(np.full((5, 21, 21), 7, dtype=np.uint16), Path(folder) / "cakes.h5")
        ...     with h5py.File(path) as file:
        ...         file["entry/cake/intensity"].shape
        (5, 3, 4)
        """
        self.check_transforms(frames)
        arrays = PixelArrays(dark, flat, mask, corrections)
        recipe = replace(self._recipe(arrays, variance, normalize, negative_counts, n_threads), single=True)
        size = self.block_size(n_threads)
        cakes = caked_blocks(recipe.apply, frames, self.frame_shape, size, whole=True, n_threads=n_threads)
        with closing(cakes) as blocks:
            return write_cakes(path, blocks, self.grid, self.geometry, normalized=normalize, sources=files_of(frames))

    def block_size(self, n_threads: int) -> int:
        """Return how many frames to read and sum at once: 16 a thread, as far as they and their cakes fit in 1 GB."""
        threads = n_threads or _core.max_threads()
        n_bytes = 4 * math.prod(self.frame_shape) + _BYTES_A_BIN * math.prod(self.shape)
        return max(1, min(BATCH * threads, _MOST_BYTES // n_bytes))

    def check_transforms(self, frames: Any, what: str = "frames") -> None:
        """Raise InputError where frames that know of their image transforms are not as the map takes them."""
        if hasattr(frames, "image_transforms"):
            self.check_transformed(are_transformed(frames, self.geometry, what), what)

    def check_transformed(self, transformed: bool, what: str = "frames") -> None:
        """Raise InputError unless the map is one for frames with, or without, image transforms applied."""
        if transformed != self.transformed and self.geometry.image_transforms:
            raise InputError(
                f"the map was built for frames {'with' if self.transformed else 'without'} image transforms applied; "
                f"read the {what} so, or build the map with the other value of transformed"
            )

    def _recipe(
        self, arrays: PixelArrays, variance: bool, normalize: bool, negative_counts: bool, n_threads: int
    ) -> Recipe:
        dark, inputs = frame_input(
            self, arrays, negative_counts=negative_counts, normalize=normalize, n_threads=n_threads
        )
        of_dark = None if dark is None or not variance else self.dark_variance(dark, inputs)
        return Recipe(self.prepare(inputs), variance, of_dark, n_threads)

    def apply_robust(
        self,
        frames: Any,
        options: RobustOptions | str = "median",
        *,
        dark: npt.ArrayLike | None = None,
        flat: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
        corrections: Corrections | None = None,
        negative_counts: bool = False,
        n_threads: int = 0,
    ) -> CakedFrames:
        """Return a robust statistic of the pixels of each bin: median, trimmed mean or sigma clipping.

        Pixels count by their area in the bin and are valid as in `apply`; `variance` of the result is the square of
        the standard error, `bin_area` and `bin_pixels` are those used. Each call lists the pixels of every bin first:
        for frames that come one by one, keep a `midas.cake.robust.prepare_robust`.

        Parameters
        ----------
        frames, dark, flat, mask, corrections, negative_counts, n_threads
            As in `apply`.
        options
            `RobustOptions`, or the name of a method: "median", "trimmed_mean" or "sigma_clip".

        Raises
        ------
        InputError
            As `apply` does, or an option is out of range.

        Examples
        --------
        >>> from midas import build_map
        >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
        >>> cake_map = build_map(g, Detector((21, 21), 200), CakeGrid(0, 9, 3, eta_step=90))
        >>> image = np.full((21, 21), 7, dtype=np.uint16)
        >>> image[12, 12] = 40000
        >>> cake_map.apply_robust(image, "median").intensity[0].tolist()
        [7.0, 7.0, 7.0, 7.0]
        """
        from midas.cake.robust import RobustOptions, prepare_robust

        chosen = options if isinstance(options, RobustOptions) else RobustOptions(options)
        self.check_transforms(frames)
        images = as_stack(frames)
        check_shape(images.shape, self.frame_shape)
        arrays = PixelArrays(dark, flat, mask, corrections)
        mean_dark, inputs = frame_input(self, arrays, negative_counts=negative_counts, n_threads=n_threads)
        stack = images[None] if images.ndim == 2 else images
        result = prepare_robust(self, chosen, inputs).apply(stack, n_threads=n_threads)
        if mean_dark is not None and not chosen.error_holds_dark and result.variance is not None:
            result = replace(result, variance=result.variance + self.dark_variance(mean_dark, inputs))
        return result[0] if images.ndim == 2 else result

    def prepare(self, inputs: FrameInput) -> PreparedMap:
        """Return the map with all that frames are combined with, checked already."""
        key = inputs.plain_key
        if key in self._plain:
            return self._plain[key]
        core = _core.Integrator(self.core, **inputs.of_core(), n_threads=inputs.n_threads)
        prepared = PreparedMap(core, self.shape, self.frame_shape)
        if key is not None:
            self._plain[key] = prepared
        return prepared

    def dark_variance(self, dark: Dark, inputs: FrameInput) -> FloatArray:
        """Return what a dark adds to the variance of each bin of one frame, shape (n_radius, n_eta)."""
        prepared = self.prepare(inputs.for_dark())
        return dark.variance(lambda image: prepared.apply([image], variance=True, n_threads=inputs.n_threads)[0])

    def save(self, path: Path | str) -> Path:
        """Write the map for `build_map(..., cache=path)` to read; return the file.

        Parameters
        ----------
        path
            A name ending in `.cakemap`, or a folder, in which the file is named for the map's key.

        Raises
        ------
        InputError, OutputError
            The name has another ending, such as `.npz`; the folder cannot be written to, or the disk is full.

        Examples
        --------
        >>> from midas import build_map
        >>> import tempfile
        >>> g, d = Geometry(1e6, (10, 10), pixel_size=200, wavelength=0.18), Detector((21, 21), 200)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = build_map(g, d, CakeGrid(0, 20, 2)).save(folder)
        ...     build_map(g, d, CakeGrid(0, 20, 2), cache=path).shape
        (10, 72)
        """
        target = map_path(path, self.key, "path")
        write_map(self.core, target, key=self.key, frame_shape=self.frame_shape)
        return target

    def to_scipy(self) -> scipy.sparse.csr_array:
        """Return the areas as a sparse matrix, shape (n_radius·n_eta, n_pixels), float32 [px²].

        Columns number the pixels of a frame of `frame_shape`, row by row.

        Examples
        --------
        >>> from midas import build_map
        >>> g = Geometry(distance=1e6, beam_center=(10, 10), pixel_size=200, wavelength=0.18)
        >>> matrix = build_map(g, Detector((21, 21), 200), CakeGrid(0, 20, 2)).to_scipy()
        >>> round(float(matrix.sum()), 3)  # every pixel, of 1 px²
        441.0
        """
        from scipy import sparse

        offsets, pixels, areas = self.core.rows()
        return sparse.csr_array((areas, pixels, offsets), shape=(self.shape[0] * self.shape[1], self.core.n_pixels))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it was built from."""
        from midas.cake.build import build_map

        build = functools.partial(build_map, transformed=self.transformed)
        return build, (self.geometry, self.detector, self.grid)

    def __repr__(self) -> str:
        """Say in one line what it maps onto what."""
        (rows, columns), (n_radius, n_eta) = self.frame_shape, self.shape
        return f"CakeMap({rows} x {columns} px onto {n_radius} radius x {n_eta} eta bins: {self.grid})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        rows = {
            "frames": f"{self.frame_shape[0]} x {self.frame_shape[1]} px, transforms "
            + ("applied" if self.transformed else "not applied"),
            "bins": f"{self.shape[0]} radius x {self.shape[1]} eta: {self.grid}",
            "hold pixels": f"{100.0 * float((self.bin_area > 0.0).mean()):.1f} % of the bins",
            "geometry": f"distance {self.geometry.distance:.1f} µm, beam y {self.geometry.beam_center[0]:.3f}, "
            f"z {self.geometry.beam_center[1]:.3f} px",
            "key": self.key[:12],
        }
        return html_table("CakeMap", rows)
