"""The outcome of a calibration: geometry, uncertainties, evidence, verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.calibration.evidence import Evidence
from midas.calibration.fit import Iteration
from midas.calibration.options import CalibrationParams
from midas.calibration.points import RingPoints
from midas.calibration.prepare import PreparedImage
from midas.calibration.screening import Candidate
from midas.calibration.seed import Seed
from midas.crystal import Rings
from midas.detector import Detector
from midas.geometry import FloatArray, Geometry
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class RingSummary:
    """What the points of one ring say."""

    number: int
    """From 1, d descending."""
    calibrant: str
    """Name of the calibrant that it belongs to."""
    hkl: tuple[int, int, int]
    """One of its reflections."""
    d_spacing: float
    """[Å]."""
    two_theta: float
    """Bragg angle [deg]."""
    radius: float
    """Ideal radius L·tan(2θ) [px]."""
    n_points: int
    """Points used in the final fit."""
    mean_strain: float
    """Mean |pseudo-strain| of its points."""
    bias: float
    """Mean pseudo-strain of its points, with sign."""
    fwhm: float
    """Median full width at half maximum [px]."""
    outlier: bool
    """Left out as an outlier ring."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A calibrated geometry with what is needed to trust it.

    Examples
    --------
    >>> from midas.calibration.result import Calibration
    >>> Calibration.__name__
    'Calibration'
    """

    geometry: Geometry
    """The best geometry found."""
    detector: Detector
    """Shape, pixel size and the mask that was used."""
    esd: Mapping[str, float]
    """Standard uncertainty of each refined parameter: distance [µm], beam_center_y and beam_center_z [px], tilt_y and
    tilt_z [deg], parallax [µm], p-terms (phases in deg)."""
    parameters: tuple[str, ...]
    """Names of the refined parameters in the order of `covariance`; distortion as cosine and sine coefficients."""
    covariance: FloatArray
    """Shape (n, n): covariance of the refined parameters in their units."""
    mean_strain: float
    """Mean |pseudo-strain| over the points used."""
    median_strain: float
    """Median |pseudo-strain| over the points used."""
    std_strain: float
    """Standard deviation of the pseudo-strain over the points used."""
    held_out_strain: float
    """Mean |pseudo-strain| of points predicted by a fit that did not see their azimuth; NaN where there are too few."""
    ring_table: tuple[RingSummary, ...]
    """One entry a ring with points."""
    points: RingPoints
    """Every ring position that passed the quality cuts."""
    strain: FloatArray
    """Shape (n_points,): pseudo-strain of each point."""
    used: npt.NDArray[np.bool_]
    """Shape (n_points,): True for the points of the final fit."""
    rings: Rings
    """The calibrant's rings."""
    history: tuple[Iteration, ...]
    """The iterations of the loop."""
    seed: Seed
    """The first guess, with its runner-up."""
    converged: bool
    """Whether the loop ended by itself."""
    reason: str
    """How the loop ended."""
    verdict: str
    """"good", "doubtful" or "failed"."""
    reasons: tuple[str, ...]
    """Why the verdict is not "good"; empty when it is."""
    seconds: float
    """Wall time of the calibration [s]."""
    image: PreparedImage
    """What was fitted."""
    params: CalibrationParams
    """What the calibration was told."""
    evidence: Evidence
    """What the verdict rests on."""
    distortion: str = ""
    """The distortion set that was refined: "none", "classic" or "full"."""
    distortion_trials: tuple[tuple[str, float], ...] = ()
    """(set, mean |strain| of held-out points) of each set compared; empty when the set was given."""
    notes: tuple[str, ...] = ()
    """What was taken from file name and headers, what contradicts it, and which guesses the image overruled."""
    candidates: tuple[Candidate, ...] = ()
    """The calibrants compared, best first; empty when the calibrant was given."""

    @property
    def calibrant(self) -> str:
        """Name of the calibrant; of several, their names with + between."""
        return self.rings.name

    def __repr__(self) -> str:
        """Return the verdict and the geometry in a few lines."""
        g, e = self.geometry, self.esd

        def said(name: str, digits: int, scale: float = 1.0) -> str:
            return f"± {e[name] * scale:.{digits}f}" if name in e else "(not refined)"

        return (
            f"Calibration: {self.verdict}, mean strain {self.mean_strain * 1e6:.1f} µε "
            f"(held out {self.held_out_strain * 1e6:.1f}) over {int(self.used.sum())} points "
            f"of {len(self.ring_table)} rings\n"
            f"  distance     {g.distance / UM_PER_MM:.4f} {said('distance', 4, 1e-3)} mm\n"
            f"  beam centre  y {g.beam_center[0]:.4f} {said('beam_center_y', 4)}, "
            f"z {g.beam_center[1]:.4f} {said('beam_center_z', 4)} px\n"
            f"  tilts        y {g.tilts[1]:.4f} {said('tilt_y', 4)}, z {g.tilts[2]:.4f} {said('tilt_z', 4)} deg"
            + (f"\n  parallax     {g.parallax:.1f} {said('parallax', 1)} µm" if g.parallax else "")
            + f"\n  rests on     {self.calibrant}, {g.wavelength:.6g} Å, {g.pixel_size:g} µm: "
            "wrong ones give a wrong distance" + "".join(f"\n  {self.verdict}: {reason}" for reason in self.reasons)
        )

    def _repr_html_(self) -> str:
        """Return the summary for notebooks: verdict, reasons, and a table of the values refined."""
        from midas.calibration.html import calibration_html

        return calibration_html(self)

    def instrument(self) -> dict[str, float]:
        """Return the rings' profile as GSAS-II takes it: U, V, W [centidegrees²], X, Y, Z [centidegrees].

        One width for all rings, split by the mean shape of the fits into a Gaussian part (W) and a Lorentzian one (Z);
        a refinement starts from it. Source: Thompson, Cox and Hastings, J. Appl. Cryst. 20 (1987) 79, for the split.
        """
        from midas.calibration.diagnostics import instrument_profile

        return instrument_profile(self.geometry, self.points.select(self.used))

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `calibration.json`: plain numbers, strings and lists."""
        from midas.calibration.files import summary

        return summary(self)

    def plot(self, which: str = "overview") -> Figure:
        """Return a figure: "overview", whether to trust it, or "details", where the strain is.

        Raises
        ------
        InputError
            There is no such picture.
        """
        from midas.calibration.plot import plot_calibration

        return plot_calibration(self, which)

    def save(self, folder: str | Path = ".", *, name: str = "calibration") -> list[Path]:
        """Write the files of a calibration into a folder, made when missing; return their paths.

        refined_MIDAS_params.txt (with panel_shifts.txt), calibration_mask.tif, calibration.json, calibration.png,
        calibration_details.png, hkls.csv, calibrant_screen_out.csv, `name`.corr.csv (name it for the image),
        geometry.poni with a spline of the distortion, or, for panels, left to `midas.write_geometry`, and
        geometry.imctrl where there is no distortion.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        """
        from midas.calibration.files import save
        from midas.io.atomic import output_folder

        with output_folder(folder) as made:
            return save(self, made, name=name)

    def save_intermediates(self, path: str | Path) -> Path:
        """Write all arrays behind the calibration into an HDF5 file, as `-SavePlotsHDF` does; return its path.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        from midas.calibration.intermediates import write_intermediates

        return write_intermediates(Path(path), self)

    def report(self, path: str | Path) -> Path:
        """Write the calibration as one self-contained HTML page with interactive plots; return its path.

        `midas.write_report` puts several results into one page.

        Raises
        ------
        InputError
            The name does not end in .html, or plotly is missing (`pip install "midas-xrd[report]"`).
        OutputError
            The file cannot be written.
        """
        from midas.calibration.report import CELLS_ALONE, calibration_part
        from midas.report import write_page

        return write_page(path, "midas: calibration", [calibration_part(self, cells=CELLS_ALONE)])
