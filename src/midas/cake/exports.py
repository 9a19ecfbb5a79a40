"""Cakes in the forms that other programs read: text of profiles, tables, MATLAB, NeXus."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from midas.cake.result import sigma_above_0
from midas.errors import InputError
from midas.io.atomic import atomic_path
from midas.units import energy_from_wavelength
from midas.version import version

if TYPE_CHECKING:
    import h5py

    from midas.cake.result import Cake

_CENTIDEGREES = 100.0


def pattern(cake: Cake, index: int) -> npt.NDArray[np.float64]:
    """Return 2θ [deg], intensity and sigma of the profile of one sum, shape (n, 3), without the bins that are empty.

    Where every pixel counted 0, sigma is that of a single count, since programs that read it divide by it.

    Raises
    ------
    InputError
        The cake has no sigma, or no sum of that index.
    """
    n = len(cake.intensity)
    if not -n <= index < n:
        raise InputError(f"index is {index} of {n} sums; expected 0 to {n - 1}")
    profile = cake.profile()
    if profile.sigma is None:
        raise InputError("the cake has no sigma, which the third column needs; integrate with variance=True")
    intensity = profile.intensity[index]
    sigma = sigma_above_0(profile.sigma[index], profile.bin_area, normalized=cake.normalized)
    rows = np.column_stack([profile.two_theta, intensity, sigma])
    return np.asarray(rows[np.isfinite(intensity)], dtype=np.float64)


def write_xye(cake: Cake, path: Path, index: int) -> None:
    """Write the profile of one sum as text: 2θ [deg], intensity and sigma a line."""
    with atomic_path(path) as temporary:
        header = "2theta [deg]  intensity  sigma"
        np.savetxt(temporary, pattern(cake, index), fmt="%.9g", header=header, encoding="utf-8")


def write_fxye(cake: Cake, path: Path, index: int) -> None:
    """Write the profile of one sum as GSAS's FXYE: a title, a BANK line, 2θ [centidegrees], intensity and sigma."""
    rows = pattern(cake, index)
    if len(rows) < 2:
        raise InputError(f"the profile has {len(rows)} bins with pixels; expected 2 or more for {path.name}")
    rows[:, 0] *= _CENTIDEGREES
    step = (rows[-1, 0] - rows[0, 0]) / (len(rows) - 1)
    title = f"midas {path.name} omega {cake.omega[index]:g} deg"
    bank = f"BANK 1 {len(rows)} {len(rows)} CONST {rows[0, 0]:.6f} {step:.6f} 0 0 FXYE"
    with atomic_path(path) as temporary:
        np.savetxt(temporary, rows, fmt="%.6f %.8g %.8g", header=f"{title[:80]}\n{bank}", comments="", encoding="utf-8")


def write_csv(cake: Cake, path: Path) -> None:
    """Write the profiles of all sums as one table: a row for each radius, a pair of columns for each sum."""
    profile = cake.profile()
    names = ["radius_px", "two_theta_deg", "q_per_angstrom", "bin_area_px2"]
    columns = [profile.radius, profile.two_theta, profile.q, profile.bin_area]
    for k, number in enumerate(cake.frame_numbers):
        names.append(f"intensity_{number}")
        columns.append(profile.intensity[k])
        if profile.sigma is not None:
            names.append(f"sigma_{number}")
            columns.append(profile.sigma[k])
    with atomic_path(path) as temporary:
        table = np.column_stack(columns)
        np.savetxt(temporary, table, fmt="%.9g", delimiter=",", header=",".join(names), comments="", encoding="utf-8")


def write_mat(cake: Cake, path: Path) -> None:
    """Write all of a cake for MATLAB (`load`), under the names of the fields of `Cake`."""
    from scipy.io import savemat

    names = ["intensity", "sigma", "bin_area", "bin_pixels", "radius", "radius_edges", "eta", "eta_edges", "frames"]
    names += ["frame_numbers", "first_omega", "last_omega", "temperature", "pressure", "i", "i0"]
    values = {name: getattr(cake, name) for name in names if getattr(cake, name) is not None}
    values |= {"two_theta": cake.two_theta, "wavelength": cake.geometry.wavelength, "distance": cake.geometry.distance}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        savemat(file, values, do_compression=True)


def write_nexus(cake: Cake, path: Path) -> None:
    """Write a cake to HDF5 as NeXus: `entry/azint2d` (NXazint2d) and its sum over eta, `entry/azint1d` (NXazint1d).

    Definitions: https://manual.nexusformat.org/classes/applications/NXazint2d.html. Intensities have the axes (sum,
    eta, radius) there, 2θ in degrees.
    """
    import h5py

    profile = cake.profile()
    axis = {"radial_axis": cake.two_theta, "radial_axis_edges": cake.edges("2theta")}
    ring = {"azimuthal_axis": cake.eta, "azimuthal_axis_edges": cake.eta_edges}
    by_eta = {"I": cake.intensity.transpose(0, 2, 1), "norm": cake.bin_area.T, **ring, **axis}
    over_eta = {"I": profile.intensity, "norm": profile.bin_area, **axis}
    if cake.sigma is not None and profile.sigma is not None:
        by_eta["I_errors"], over_eta["I_errors"] = cake.sigma.transpose(0, 2, 1), profile.sigma
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "midas", "creator_version": version()})
        entry = _group(file, "entry", "NXentry", default="azint2d")
        _azint(_group(entry, "azint2d", "NXsubentry"), cake, by_eta, 2)
        _azint(_group(entry, "azint1d", "NXsubentry"), cake, over_eta, 1)


_NEXUS_NAMES = {
    "I": "intensity",
    "I_errors": "estimated intensity error",
    "norm": "effective number of pixels contributing to the corresponding bin",
    "radial_axis": "2theta",
    "radial_axis_edges": "2theta bin edges",
    "azimuthal_axis": "azimuthal bin center",
    "azimuthal_axis_edges": "azimuthal bin edges",
}


def _group(parent: h5py.Group, name: str, kind: str, **attributes: Any) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs.update({"NX_class": kind, **attributes})
    return group


def _azint(entry: h5py.Group, cake: Cake, values: Mapping[str, Any], n_axes: int) -> None:
    entry.attrs["default"] = "data"
    entry["definition"] = f"NXazint{n_axes}d"
    entry["solid_angle_applied"] = cake.corrections.solid_angle
    entry["polarization_applied"] = cake.corrections.polarization is not None
    entry["normalization_applied"] = cake.normalized
    instrument = _group(entry, "instrument", "NXinstrument")
    instrument["name"] = "unknown"
    monochromator = _group(instrument, "monochromator", "NXmonochromator")
    monochromator["wavelength"], monochromator["energy"] = (
        cake.geometry.wavelength,
        energy_from_wavelength(cake.geometry.wavelength),
    )
    monochromator["wavelength"].attrs["units"], monochromator["energy"].attrs["units"] = "angstrom", "keV"
    beam = _group(instrument, "source", "NXsource")
    beam["name"], beam["type"], beam["probe"] = "unknown", "Synchrotron X-ray Source", "x-ray"
    reduction = _group(entry, "reduction", "NXprocess")
    reduction["program"], reduction["version"] = "midas", version()
    reduction["reference"] = "exact areas of pixels in bins of (R, eta)"
    reduction["note"] = (
        "eta is 0 toward higher rows, 90 toward higher columns; sums of frames are not divided by their number"
    )
    settings = _group(reduction, "input", "NXparameters")
    settings["geometry"] = json.dumps(cake.geometry.as_record())
    data = _group(entry, "data", "NXdata", signal="I", interpretation="image" if n_axes == 2 else "spectrum")
    data.attrs["axes"] = [".", "azimuthal_axis", "radial_axis"] if n_axes == 2 else [".", "radial_axis"]
    for name, array in values.items():
        dataset = data.create_dataset(name, data=array)
        units = "deg" if "axis" in name else "arbitrary units"
        dataset.attrs.update({"long_name": _NEXUS_NAMES[name], "units": units})
    for name, array in (("omega", cake.omega), ("n_frames", cake.frames), ("last_frame_number", cake.frame_numbers)):
        data.create_dataset(name, data=array)
    data["omega"].attrs["units"] = "deg"


@dataclass(frozen=True)
class Export:
    """A further form of a cake: one file, or one for each sum."""

    suffix: str
    write_one: Callable[[Cake, Path], None] | None = None
    write_sum: Callable[[Cake, Path, int], None] | None = None

    def paths(self, stem: Path, frame_numbers: Sequence[int]) -> list[Path]:
        """Return the files of a cake whose sums end at frames of these numbers, which the names of several have."""
        several = self.write_sum is not None and len(frame_numbers) > 1
        names = [f"_{n:06d}" for n in frame_numbers] if several else [""]
        return [stem.with_name(stem.name + name + self.suffix) for name in names]

    def write(self, cake: Cake, stem: Path) -> list[Path]:
        """Write the files beside a cake, given its name without suffix; return their paths."""
        paths = self.paths(stem, cake.frame_numbers.tolist())
        for k, path in enumerate(paths):
            if self.write_sum is not None:
                self.write_sum(cake, path, k)
            elif self.write_one is not None:
                self.write_one(cake, path)
        return paths


EXPORTS: Mapping[str, Export] = MappingProxyType(
    {
        "nexus": Export(".nxs", write_nexus),
        "xye": Export(".xye", write_sum=write_xye),
        "fxye": Export(".fxye", write_sum=write_fxye),
        "csv": Export(".csv", write_csv),
        "mat": Export(".mat", write_mat),
    }
)
"""What `midas integrate --also` writes, by name."""


def check_exports(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of exports, each once; raise InputError of one that is unknown."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"also is {names!r}; expected a tuple of names, of {', '.join(EXPORTS)}")
    for name in names:
        if name not in EXPORTS:
            raise InputError(f"{name!r} is no form of a cake; expected of {', '.join(EXPORTS)}")
    return tuple(dict.fromkeys(names))
