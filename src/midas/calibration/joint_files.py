"""The files and the picture of a joint calibration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.calibration.files import plain_values
from midas.calibration.files import save as save_image
from midas.calibration.pictures import Artist
from midas.calibration.plot import COLORS
from midas.io.atomic import atomic_path
from midas.notebooks import shown_in_notebooks
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from midas.calibration.joint_result import JointCalibration

_MOST_POINTS = 4000  # drawn of one image


def summary(joint: JointCalibration) -> dict[str, Any]:
    """Return what the joint `calibration.json` holds: plain numbers, strings, lists, dicts; null where not finite."""
    sigma = np.sqrt(np.diag(joint.covariance))
    images = [
        {
            "name": name,
            "verdict": image.verdict,
            "calibrant": image.rings.name,
            "distance": image.geometry.distance,
            "beam_center": list(image.geometry.beam_center),
            "wavelength": image.geometry.wavelength,
            "esd": dict(image.esd),
            "mean_strain": image.mean_strain,
            "held_out_strain": image.held_out_strain,
            "n_points": int(image.used.sum()),
            "alone": {
                "distance": alone.geometry.distance,
                "beam_center": list(alone.geometry.beam_center),
                "esd": dict(alone.esd),
                "mean_strain": alone.mean_strain,
            },
        }
        for name, image, alone in zip(joint.names, joint.images, joint.alone, strict=True)
    ]
    g = joint.images[0].geometry
    content: dict[str, Any] = plain_values(
        {
            "verdict": joint.verdict,
            "reasons": list(joint.reasons),
            "notes": list(joint.notes),
            "converged": joint.converged,
            "mean_strain": joint.mean_strain,
            "held_out_strain": joint.held_out_strain,
            "wavelength": joint.wavelength,
            "wavelength_esd": joint.wavelength_esd,
            "parallax": joint.parallax,
            "parallax_esd": joint.parallax_esd,
            "tilts": list(g.tilts),
            "distortion": {k: v for k, v in g.distortion.items() if v != 0.0},
            "distortion_radius": g.distortion_radius,
            "images": images,
            "parameters": list(joint.parameters),
            "sigma": sigma.tolist(),
            "correlation": joint.correlation.tolist(),
            "seconds": joint.seconds,
            "units": "lengths µm, positions px, angles deg, wavelength Å, strain dimensionless",
        }
    )
    return content


def save(joint: JointCalibration, folder: Path, sources: Any = None, artist: Artist | None = None) -> list[Path]:
    """Write each image's files to a folder of its name and the joint calibration.json and .png; return the paths.

    `sources` holds each image's parameter file (`midas.io.parameters.Parameters`) whose other settings travel on;
    `artist` draws those of each image, this process when it is None.
    """
    written = []
    for k, (name, image) in enumerate(zip(joint.names, joint.images, strict=True)):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        written += save_image(image, place, None if sources is None else sources[k], name, artist)
    record = folder / "calibration.json"
    with atomic_path(record) as temporary:
        temporary.write_text(json.dumps(summary(joint), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    picture = folder / "calibration.png"
    with atomic_path(picture) as temporary:
        plot_joint(joint).savefig(temporary, dpi=110)
    return [*written, record, picture]


def plot_joint(joint: JointCalibration) -> Figure:
    """Return a figure: strain against 2θ by image, mean strain alone and jointly, and the way of the beam centre."""
    from matplotlib.figure import Figure

    figure = shown_in_notebooks(Figure(figsize=(13, 7), layout="constrained"))
    grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1.0))
    _draw_strain(joint, figure.add_subplot(grid[:, 0]))
    _draw_means(joint, figure.add_subplot(grid[0, 1]))
    _draw_way(joint, figure.add_subplot(grid[1, 1]))
    wavelength = f"{joint.wavelength:.6f}" + (f" ± {joint.wavelength_esd:.6f}" if joint.wavelength_esd else "")
    figure.suptitle(
        f"{joint.verdict.upper()}: {len(joint.images)} images together, wavelength {wavelength} Å, "
        f"mean strain {joint.mean_strain * 1e6:.1f} µε, held out {joint.held_out_strain * 1e6:.1f}",
        color=COLORS[joint.verdict],
    )
    return figure


def _draw_strain(joint: JointCalibration, axes: Axes) -> None:
    highest = 0.0
    for name, image in zip(joint.names, joint.images, strict=True):
        step = max(1, int(image.used.sum()) // _MOST_POINTS)
        two_theta = np.degrees(np.arctan(image.points.tan_two_theta[image.used]))[::step]
        strain = image.strain[image.used][::step] * 1e6
        highest = max(highest, float(np.percentile(np.abs(strain), 99)))
        axes.plot(two_theta, strain, ".", ms=2.5, alpha=0.5, label=name)
    axes.axhline(0.0, color="0.3", lw=0.7)
    axes.set(xlabel="2θ [deg]", ylabel="pseudo-strain [µε]", ylim=(-1.3 * highest - 1e-9, 1.3 * highest + 1e-9))
    axes.legend(fontsize=8, loc="upper right", markerscale=4)


def _draw_means(joint: JointCalibration, axes: Axes) -> None:
    rows = np.arange(len(joint.images))
    for offset, color, label, values in (
        (-0.2, "0.6", "alone", [c.mean_strain for c in joint.alone]),
        (0.2, "#2563eb", "together", [c.mean_strain for c in joint.images]),
    ):
        axes.barh(rows + offset, np.array(values) * 1e6, height=0.38, color=color, label=label)
    axes.set_yticks(rows, joint.names)
    axes.invert_yaxis()
    axes.set(xlabel="mean strain [µε]")
    axes.legend(fontsize=8)


def _draw_way(joint: JointCalibration, axes: Axes) -> None:
    """Draw how the beam centre moves with the distance: a straight line is a rail at an angle to the beam."""
    distance = np.array([c.geometry.distance for c in joint.images]) / UM_PER_MM
    center = np.array([c.geometry.beam_center for c in joint.images])
    for k, name in enumerate(("y", "z")):
        esd = [c.esd.get(f"beam_center_{name}", 0.0) for c in joint.images]
        axes.errorbar(distance, center[:, k] - center[0, k], yerr=esd, fmt="o-", ms=4, lw=1, label=name)
    axes.set(xlabel="distance [mm]", ylabel="beam centre less the first [px]")
    axes.legend(fontsize=8)
