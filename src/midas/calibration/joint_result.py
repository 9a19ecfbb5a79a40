"""The outcome of a joint calibration: one calibration an image, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas.calibration.result import Calibration
from midas.calibration.values import correlations
from midas.geometry import FloatArray
from midas.shown import html_table
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class JointCalibration:
    """Several images of one detector, calibrated together.

    Examples
    --------
    >>> from midas.calibration.joint_result import JointCalibration
    >>> JointCalibration.__name__
    'JointCalibration'
    """

    images: tuple[Calibration, ...]
    """One an image, in the order given: geometry, uncertainties and points of the joint fit, verdict with the reasons
    of the image alone and of its place among the others."""
    names: tuple[str, ...]
    """What each image is called: its file's name without the suffix, or its number. No two are alike."""
    alone: tuple[Calibration, ...]
    """Each image calibrated by itself."""
    wavelength: float
    """The beam's wavelength [Å], of the first image where they differ; as refined where it was."""
    wavelength_esd: float | None
    """Its standard uncertainty [Å]; None where it was not refined."""
    parallax: float
    """Depth at which the sensor converts [µm]."""
    parallax_esd: float | None
    """Its standard uncertainty [µm]; None where it was not refined."""
    parameters: tuple[str, ...]
    """Names of the refined parameters in the order of `covariance`; those of one image end in its number, from 1:
    `distance_2`. `distance` alone is the first image's, from which the others stand at known steps, and `position_2`
    the error of a step. Distortion as cosine and sine coefficients."""
    covariance: FloatArray
    """Shape (n, n): covariance of the refined parameters in their units; the wavelength's is Å."""
    mean_strain: float
    """Mean |pseudo-strain| over the points used of all images."""
    held_out_strain: float
    """Mean |pseudo-strain| of points predicted by joint fits that did not see their azimuth; NaN where there are too
    few."""
    converged: bool
    """Whether the joint least squares and every image's loop converged."""
    verdict: str
    """"good", "doubtful" or "failed": the worst image's, or worse where the images do not fit together."""
    reasons: tuple[str, ...]
    """Why the verdict is not "good"; empty when it is. A reason of one image begins with its name."""
    seconds: float
    """Wall time of the calibration [s]."""

    def __repr__(self) -> str:
        """Return the verdict, what the images share, and a line for each."""
        lines = [f"JointCalibration of {len(self.images)} images: {self._outcome()}"]
        rows = self._rows()
        shared = {name: value for name, value in rows.items() if name not in self.names}
        lines += [f"  {name:<12s} {value}" for name, value in shared.items()]
        lines += [f"  {name}: {rows[name]}" for name in self.names]
        return "\n".join([*lines, *(f"  {self.verdict}: {reason}" for reason in self.reasons)])

    def _repr_html_(self) -> str:
        """Return the summary for notebooks."""
        return html_table(f"{len(self.images)} images: {self._outcome()}", self._rows(), self.reasons)

    def _outcome(self) -> str:
        return (
            f"{self.verdict}, mean strain {self.mean_strain * 1e6:.1f} µε (held out {self.held_out_strain * 1e6:.1f})"
        )

    def _rows(self) -> dict[str, str]:
        """Return what the images share, and what each has of its own, by name."""
        g, e = self.images[0].geometry, self.images[0].esd
        wavelength = f"{self.wavelength:.7f}" + (f" ± {self.wavelength_esd:.7f}" if self.wavelength_esd else "")
        tilts = f"y {g.tilts[1]:.4f} ± {e.get('tilt_y', 0.0):.4f}, z {g.tilts[2]:.4f} ± {e.get('tilt_z', 0.0):.4f} deg"
        rows = {"wavelength": f"{wavelength} Å", "tilts": tilts}
        if self.parallax or self.parallax_esd:
            esd = "" if self.parallax_esd is None else f" ± {self.parallax_esd:.1f}"
            rows["parallax"] = f"{self.parallax:.1f}{esd} µm"
        for name, image, alone in zip(self.names, self.images, self.alone, strict=True):
            g, esd_um = image.geometry, image.esd.get("distance", 0.0)
            known = f"± {esd_um / UM_PER_MM:.4f}" if esd_um > 0.0 else "(not refined)"
            rows[name] = (
                f"distance {g.distance / UM_PER_MM:.4f} {known} mm, "
                f"beam y {g.beam_center[0]:.4f}, z {g.beam_center[1]:.4f} px, mean strain "
                f"{image.mean_strain * 1e6:.1f} µε ({alone.mean_strain * 1e6:.1f} alone)"
            )
        return rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What each image's file name and headers said and which guesses were overruled; each begins with its name.

        What is said of every image is said once, without a name.
        """
        of_all = [n for n in self.images[0].notes if all(n in c.notes for c in self.images)]
        of_one = [
            f"{name}: {note}"
            for name, c in zip(self.names, self.images, strict=True)
            for note in c.notes
            if note not in of_all
        ]
        return (*of_one, *of_all)

    @property
    def correlation(self) -> FloatArray:
        """Correlations of the refined parameters, shape (n, n); NaN where the covariance is singular."""
        return correlations(self.covariance)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of the joint `calibration.json`: plain numbers, strings and lists."""
        from midas.calibration.joint_files import summary

        return summary(self)

    def plot(self) -> Figure:
        """Return a figure: strain against 2θ by image, each image alone and jointly, and the way of the beam centre."""
        from midas.calibration.joint_files import plot_joint

        return plot_joint(self)

    def save(self, folder: str | Path = ".") -> list[Path]:
        """Write each image's files to a folder of its name, and calibration.json and .png of all; return the paths.

        Raises
        ------
        OutputError
            The folder cannot be written to.
        """
        from midas.calibration.joint_files import save
        from midas.io.atomic import output_folder

        with output_folder(folder) as made:
            return save(self, made)

    def report(self, path: str | Path) -> Path:
        """Write the calibrations as one self-contained HTML page with interactive plots; return its path.

        `midas.write_report` puts several results into one page.

        Raises
        ------
        InputError
            The name does not end in .html, or plotly is missing (`pip install "midas-xrd[report]"`).
        OutputError
            The file cannot be written.
        """
        from midas.calibration.report import joint_parts
        from midas.report import write_page

        return write_page(path, "midas: joint calibration", joint_parts(self))
