"""The cake: what comes out of an integration, with its axes, its files and its picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.axes import RadialAxes, axis_of_radius
from midas.cake.corrections import Corrections
from midas.errors import InputError
from midas.geometry import FloatArray, Geometry
from midas.grid import CakeGrid
from midas.io.gsas_zarr import CORRECTIONS, INSTRUMENT_DEFAULTS, CakeFile, write_cake_file
from midas.io.image_source import CONDITIONS
from midas.shown import html_table, range_of
from midas.version import version

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from midas.cake.peaks import PeakFits, PeakOptions
    from midas.crystal.rings import Rings


@dataclass(frozen=True, eq=False)
class Profile(RadialAxes):
    """Patterns over radius alone: one row for each sum of a cake.

    Examples
    --------
    >>> from midas import CakeGrid, Geometry
    >>> from midas.cake import integrate
    >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    >>> profile = integrate(np.ones((41, 41)), g, CakeGrid.from_edges([0.02, 0.06, 0.2], unit="2theta")).profile()
    >>> profile.two_theta.round(6).tolist(), profile.edges("2theta").round(6).tolist()
    ([0.04, 0.13], [0.02, 0.06, 0.2])
    """

    radius: FloatArray
    """Shape (n_radius,), bin centres [px]."""
    intensity: FloatArray
    """Shape (n_sums, n_radius): sum(intensity·bin_area) / sum(bin_area) over eta; the plain sum for a cake that is not
    normalised. NaN where no bin holds a pixel."""
    sigma: FloatArray | None
    """Shape of `intensity`: its standard deviation; pixels that two eta bins share are counted once."""
    bin_area: FloatArray
    """Shape (n_radius,), area of the valid pixels, summed over eta [px², as `CakeMap.bin_area`]."""
    radius_edges: FloatArray
    """Shape (n_radius + 1,), bin edges [px]; `edges` gives them in other units."""
    geometry: Geometry
    """The geometry it was made with."""

    def __repr__(self) -> str:
        """Say in one line what is in it."""
        n, bins = self.intensity.shape
        where = range_of(float(self.two_theta[0]), float(self.two_theta[-1]), "deg")
        return f"Profile({n} pattern{'s' * (n != 1)} of {bins} bins, 2theta {where})"


def sigma_above_0(sigma: FloatArray, bin_area: FloatArray, *, normalized: bool) -> FloatArray:
    """Return sigma, or that of a single count where every pixel of a bin counted 0: for what divides by it."""
    one_count = 1.0 / bin_area.clip(min=1.0) if normalized else np.ones_like(bin_area)
    return np.where(sigma == 0.0, one_count, sigma)


def instrument_parameters(geometry: Geometry, better: Mapping[str, float]) -> dict[str, float]:
    """Return GSAS-II's instrument parameters: the defaults, what the geometry says, and what is known better.

    Raises
    ------
    InputError
        One of those known better has no meaning.
    """
    known = {**INSTRUMENT_DEFAULTS, "Lam": geometry.wavelength, "Distance": geometry.distance}
    unknown = [name for name in better if name not in known]
    if unknown:
        raise InputError(f"unknown instrument parameter {unknown[0]!r}; expected one of {', '.join(known)}")
    return {**known, **better}


def map_rows(radius: FloatArray, eta: FloatArray, geometry: Geometry) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return radius [px], 2theta [deg] and eta [deg] of the centre of every bin, shape (n_radius, n_eta) each."""
    columns = np.ones((len(radius), len(eta)))
    two_theta = axis_of_radius(radius, "2theta", geometry)
    return radius[:, None] * columns, two_theta[:, None] * columns, eta * columns


def axes_of(grid: CakeGrid, geometry: Geometry) -> dict[str, Any]:
    """Return the axes of a `Cake` of this grid, by field."""
    return {
        "radius": grid.radius_centers(geometry),
        "radius_edges": grid.radius_edges(geometry),
        "eta": grid.eta_centers,
        "eta_edges": grid.eta_edges,
    }


def cake_metadata(geometry: Geometry, *, normalized: bool, corrections: Corrections) -> dict[str, Any]:
    """Return what midas notes of a cake in its file; JSON values."""
    found = {"version": version(), "geometry": geometry.as_record(), "normalized": normalized}
    return {**found, CORRECTIONS: asdict(corrections)} if corrections.any else found


def described(frames: npt.NDArray[np.int64], two_theta: FloatArray, n_eta: int) -> str:
    """Return in a few words what is in a cake, from the frames in each sum and the bins' centres [deg]."""
    n, total = len(frames), int(frames.sum())
    return (
        f"{n} sum{'s' * (n != 1)} of {total} frame{'s' * (total != 1)}, {len(two_theta)} radius x {n_eta} eta "
        f"bins, 2theta {two_theta[0]:.3f} to {two_theta[-1]:.3f} deg"
    )


@dataclass(frozen=True, eq=False)
class Cake(RadialAxes):
    """Intensity over radius and eta, summed over groups of frames.

    Examples
    --------
    >>> from midas import CakeGrid, Geometry
    >>> from midas.cake import integrate
    >>> g = Geometry(distance=1e6, beam_center=(20, 20), pixel_size=200, wavelength=0.18)
    >>> cake = integrate(np.full((41, 41), 5, dtype=np.uint16), g, CakeGrid(2, 18, 2, eta_step=90))
    >>> cake
    Cake(1 sum of 1 frame, 8 radius x 4 eta bins, 2theta 0.034 to 0.195 deg)
    >>> cake.profile().intensity.round(6)[0, :3].tolist()
    [5.0, 5.0, 5.0]
    """

    intensity: FloatArray
    """Shape (n_sums, n_radius, n_eta): sum over the frames of sum(area·s·(raw - dark)) / sum(area), counts per px²
    times frames, where s is 1 over the flat and the factors of the corrections, 1 without any; without the division
    where `normalized` is False. NaN where a bin has no valid pixel."""
    sigma: FloatArray | None
    """Shape of `intensity`: its standard deviation from Poisson counts, the dark's included. 0 where all pixels of the
    bin count 0: Poisson counts say nothing better. None where it was not asked for."""
    bin_area: FloatArray
    """Shape (n_radius, n_eta): area of the valid pixels, mean over frames, in px² for grids of any unit
    (`CakeMap.bin_area`); 0 where there is none. With `IntegrationOptions.robust`, of those that it kept."""
    bin_pixels: FloatArray
    """Shape (n_radius, n_eta): number of these pixels, which have a part in the bin, mean over frames."""
    radius: FloatArray
    """Shape (n_radius,): bin centres, half way between the edges in the unit of the grid [px]."""
    radius_edges: FloatArray
    """Shape (n_radius + 1,): bin edges [px]; `edges` gives them in other units."""
    eta: FloatArray
    """Shape (n_eta,): bin centres [deg]."""
    eta_edges: FloatArray
    """Shape (n_eta + 1,): bin edges [deg]."""
    geometry: Geometry
    """The geometry it was made with."""
    frames: npt.NDArray[np.int64]
    """Shape (n_sums,): frames really summed."""
    frame_numbers: npt.NDArray[np.int64]
    """Shape (n_sums,): number of the last frame of each sum, counted from 0 in the file."""
    first_omega: FloatArray
    """Shape (n_sums,): omega of the first frame [deg]."""
    last_omega: FloatArray
    """Shape (n_sums,): omega of the last frame [deg]."""
    temperature: FloatArray
    """Shape (n_sums,): mean over the frames of the sum, in the unit of the source; NaN unknown."""
    pressure: FloatArray
    """As `temperature`."""
    i: FloatArray
    """As `temperature`: transmitted beam."""
    i0: FloatArray
    """As `temperature`: incident beam."""
    eta_overlap: FloatArray
    """Shape (n_radius,): variance of a sum over eta, over the sum of the bins' variances; above 1 because pixels on a
    border of eta are in two bins."""
    normalized: bool = True
    """False: intensities are plain weighted sums (`Normalize 0`)."""
    individual: FloatArray | None = None
    """Shape (n_frames, n_radius, n_eta): each frame's intensity, where these were kept."""
    individual_omega: FloatArray | None = None
    """Shape (n_frames,) [deg]."""
    first_frame_number: int = 0
    """Number of the first frame in the file, counted from 0."""
    corrections: Corrections = field(default_factory=Corrections)
    """What counts were divided by, from where pixels are."""

    @property
    def omega(self) -> FloatArray:
        """Mean omega of each sum, shape (n_sums,) [deg]."""
        return np.asarray(0.5 * (self.first_omega + self.last_omega))

    def profile(self) -> Profile:
        """Return the patterns summed over eta, each bin with the weight of its area."""
        area = self.bin_area.sum(axis=1)
        return Profile(self.radius, *self._over_eta(), area, self.radius_edges, self.geometry)

    def _over_eta(self) -> tuple[FloatArray, FloatArray | None]:
        weight = np.where(np.isfinite(self.intensity), self.bin_area if self.normalized else 1.0, 0.0)
        weight[:, self.bin_area == 0.0] = 0.0
        total = weight.sum(axis=2)
        divisor = np.where(total > 0.0, total if self.normalized else 1.0, np.nan)
        intensity = np.nansum(weight * self.intensity, axis=2) / divisor
        if self.sigma is None:
            return intensity, None
        variance = np.nansum((weight * self.sigma) ** 2, axis=2) * self.eta_overlap
        return intensity, np.asarray(np.sqrt(variance) / divisor)

    def fit_peaks(
        self,
        positions: Sequence[float] | FloatArray | Rings | None = None,
        *,
        options: PeakOptions | None = None,
        n_threads: int = 0,
    ) -> PeakFits:
        """Return the peaks of every lineout, one row for each (sum, eta, peak): see `midas.fit_peaks`.

        Parameters
        ----------
        positions
            Expected radii [px], or the `Rings` of a calibrant; None looks for peaks in every lineout.
        options
            `midas.PeakOptions`; None takes the defaults.
        n_threads
            0 uses all; the result is the same for any number.

        Raises
        ------
        InputError
            As `midas.fit_peaks`.
        """
        from midas.cake.peaks import fit_peaks

        return fit_peaks(self, positions, options=options, n_threads=n_threads)

    def to_zarr(
        self, path: Path | str, *, instrument: Mapping[str, float] | None = None, sum_images: bool = False
    ) -> Path:
        """Write the cake as a `.zarr.zip` for GSAS-II and return its path.

        Parameters
        ----------
        path
            Name, which must end in `.zarr.zip`.
        instrument
            Any of Polariz, SH_L, U, V, W, X, Y, Z [centidegrees] that is known better than the defaults; wavelength and
            distance come from the geometry.
        sum_images
            True: also store the sum of all frames (`SumImages 1`).

        Raises
        ------
        InputError
            The name has another suffix, or an instrument parameter is unknown.
        """
        return write_cake_file(path, self.to_cake_file(instrument=instrument, sum_images=sum_images))

    def to_cake_file(self, *, instrument: Mapping[str, float] | None = None, sum_images: bool = False) -> CakeFile:
        """Return what `to_zarr` writes."""
        radius, two_theta, eta = map_rows(self.radius, self.eta, self.geometry)
        return CakeFile(
            intensity=self.intensity,
            variance=None if self.sigma is None else self.sigma**2,
            frames=self.frames,
            radius=radius,
            two_theta=two_theta,
            eta=eta,
            bin_area=self.bin_area,
            first_omega=self.first_omega,
            last_omega=self.last_omega,
            frame_numbers=self.frame_numbers,
            instrument=instrument_parameters(self.geometry, instrument or {}),
            individual=self.individual,
            individual_omega=self.individual_omega,
            first_frame_number=self.first_frame_number,
            sum_images=sum_images,
            metadata=cake_metadata(self.geometry, normalized=self.normalized, corrections=self.corrections),
            **{name: getattr(self, name) for name in CONDITIONS},
        )

    def to_xye(self, path: Path | str, *, index: int = 0) -> Path:
        """Write the profile of one sum as text, 2θ [deg], intensity and sigma a line, and return its path.

        Bins without a pixel are left out. Where every pixel counted 0, sigma is that of a single count, since programs
        that read the file divide by it.

        Raises
        ------
        InputError
            The cake has no sigma, or no sum of that index.
        """
        from midas.cake.exports import write_xye

        write_xye(self, Path(path), index)
        return Path(path)

    def to_fxye(self, path: Path | str, *, index: int = 0) -> Path:
        """Write the profile of one sum as GSAS's FXYE text, 2θ in centidegrees, and return its path; as `to_xye`."""
        from midas.cake.exports import write_fxye

        write_fxye(self, Path(path), index)
        return Path(path)

    def to_csv(self, path: Path | str) -> Path:
        """Write the profiles of all sums as one table, with a row for each radius, and return its path."""
        from midas.cake.exports import write_csv

        write_csv(self, Path(path))
        return Path(path)

    def to_mat(self, path: Path | str) -> Path:
        """Write all of the cake for MATLAB, under the names of its fields, and return the path."""
        from midas.cake.exports import write_mat

        write_mat(self, Path(path))
        return Path(path)

    def to_nexus(self, path: Path | str) -> Path:
        """Write the cake to HDF5 as NeXus, NXazint2d and, summed over eta, NXazint1d, and return its path."""
        from midas.cake.exports import write_nexus

        write_nexus(self, Path(path))
        return Path(path)

    def plot(self, *, index: int = 0, unit: str = "2theta") -> Figure:
        """Return a figure of one sum: the cake over eta and, below it, the profile with a band of its sigma.

        The legend says how many sigma the band is: as many as it takes to be seen.

        Parameters
        ----------
        index
            Which sum.
        unit
            Horizontal axis: "2theta", "q", "d" (to ten times the smallest) or "px".

        Raises
        ------
        InputError
            There is no such sum or unit, or no bin holds a value.
        """
        from midas.cake.plot import plot_cake

        return plot_cake(self, index=index, unit=unit)

    def report(self, path: str | Path) -> Path:
        """Write the cake as one self-contained HTML page with interactive plots; return its path.

        `midas.write_report` puts several results into one page.

        Raises
        ------
        InputError
            The name does not end in .html, or plotly is missing (`pip install "midas-xrd[report]"`).
        OutputError
            The file cannot be written.
        """
        from midas.cake.report import cake_parts
        from midas.report import write_page

        return write_page(path, "midas: integration", cake_parts([self]))

    def __repr__(self) -> str:
        """Say in one line what is in it."""
        return f"Cake({described(self.frames, self.two_theta, len(self.eta))})"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        filled = float((self.bin_area > 0.0).mean())
        sizes = ", ".join(str(n) for n in sorted(set(self.frames.tolist())))
        rows = {
            "sums of frames": f"{len(self.frames)} ({sizes} frames each)",
            "bins": f"{len(self.radius)} radius x {len(self.eta)} eta, {100 * filled:.1f} % hold pixels",
            "2θ": f"{self.two_theta[0]:.4f} to {self.two_theta[-1]:.4f} deg",
            "η": f"{self.eta[0]:.2f} to {self.eta[-1]:.2f} deg",
            "ω": f"{self.first_omega[0]:g} to {self.last_omega[-1]:g} deg",
            "intensity": "counts per px²" if self.normalized else "counts",
        }
        return html_table("Cake", rows)
