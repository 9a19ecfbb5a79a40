"""Powder rings: where a calibrant diffracts and how strongly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from midas.crystal.calibrants import Calibrant, find_space_group, gemmi_cell
from midas.errors import InputError
from midas.shown import html_rows, range_of
from midas.units import q_from_two_theta, two_theta_from_d

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

Calibrants = Calibrant | tuple[Calibrant, ...]
"""One calibrant, or several in one exposure."""
SAME_D = 1e-7
"""Reflections whose spacings agree to this fraction share a ring."""
_MOST_REFLECTIONS = 2_000_000
_WAVELENGTH_RANGE = (0.01, 10.0)  # Å


_ROWS_SHOWN = 12  # of a table in a notebook


@dataclass(frozen=True, eq=False)
class Rings:
    """The powder rings of a calibrant, or of several, at a wavelength, d descending. Arrays are read-only.

    Examples
    --------
    >>> from midas.crystal.calibrants import calibrant
    >>> r = rings(calibrant("CeO2"), 0.1839, d_min=1.0)
    >>> len(r), r.hkl[0].tolist(), int(r.multiplicity[0])
    (10, [1, 1, 1], 8)
    """

    calibrant: Calibrant
    """What diffracts; of several calibrants the first."""
    wavelength: float
    """[Å]."""
    number: IntArray
    """Shape (n,), from 1 in order of falling d."""
    d_spacing: FloatArray
    """Shape (n,) [Å]."""
    two_theta: FloatArray
    """Shape (n,) [deg], Bragg's law."""
    q: FloatArray
    """Shape (n,), 2π/d [Å⁻¹]."""
    hkl: IntArray
    """Shape (n, 3), one reflection of each ring: the fewest negative indices, then the largest h, k, l."""
    multiplicity: IntArray
    """Shape (n,), reflections on the ring, Friedel mates included."""
    intensity: FloatArray
    """Shape (n,), sum of |F|² over the ring's reflections, each calibrant's strongest 1; no Lorentz or polarization
    factor. NaN when the calibrant has no atoms; 0 where the structure extinguishes a ring that the space group allows
    (Si 222)."""
    all_hkl: IntArray
    """Shape (m, 3), every reflection of every ring, ring by ring."""
    all_number: IntArray
    """Shape (m,), the ring number of each row of `all_hkl`."""
    calibrants: tuple[Calibrant, ...] = ()
    """All that diffract in one exposure; `calibrant` alone when not given."""
    phase: IntArray | None = None
    """Shape (n,), index into `calibrants` of the one that each ring belongs to; None: all to the first."""

    def __len__(self) -> int:
        """Return the number of rings."""
        return len(self.d_spacing)

    @property
    def name(self) -> str:
        """Name of the calibrant; of several, their names with + between."""
        return " + ".join(c.name for c in self.calibrants or (self.calibrant,))

    def calibrant_of(self, ring: int) -> Calibrant:
        """Return the calibrant of a ring (index from 0)."""
        return self.calibrant if self.phase is None else self.calibrants[int(self.phase[ring])]

    def first(self, n: int) -> Rings:
        """Return the n rings of largest d, all of them where there are fewer.

        Examples
        --------
        >>> from midas.crystal.calibrants import calibrant
        >>> rings(calibrant("CeO2"), 0.1839, d_min=1.0).first(3).hkl.tolist()
        [[1, 1, 1], [2, 0, 0], [2, 2, 0]]
        """
        kept = self.all_number <= n
        return replace(
            self,
            number=self.number[:n],
            d_spacing=self.d_spacing[:n],
            two_theta=self.two_theta[:n],
            q=self.q[:n],
            hkl=self.hkl[:n],
            multiplicity=self.multiplicity[:n],
            intensity=self.intensity[:n],
            all_hkl=_frozen(self.all_hkl[kept]),
            all_number=_frozen(self.all_number[kept]),
            phase=None if self.phase is None else self.phase[:n],
        )

    def at_wavelength(self, wavelength: float) -> Rings:
        """Return the same rings at another wavelength [Å].

        Raises
        ------
        InputError
            The wavelength is out of range, or too long for the last ring to diffract.

        Examples
        --------
        >>> from midas.crystal.calibrants import calibrant
        >>> r = rings(calibrant("CeO2"), 0.2, d_min=2.0).at_wavelength(0.4)
        >>> r.wavelength, [round(t, 2) for t in r.two_theta.tolist()]
        (0.4, [7.34, 8.48])
        """
        shortest = _lowest_d(wavelength, None, float(self.d_spacing.min(initial=math.inf)))
        if len(self) and shortest > self.d_spacing[-1]:
            raise InputError(
                f"at the wavelength {wavelength:g} Å the ring of d = {self.d_spacing[-1]:.4g} Å does not diffract; "
                f"expected at most {2.0 * self.d_spacing[-1]:.4g} Å"
            )
        two_theta = np.array([two_theta_from_d(v, wavelength) for v in self.d_spacing])
        return replace(self, wavelength=float(wavelength), two_theta=_frozen(two_theta))

    def reciprocal_vectors(self) -> FloatArray:
        """Return the Cartesian reciprocal vectors of `all_hkl`, shape (m, 3) [Å⁻¹], each of its own calibrant."""
        if self.phase is None:
            return reciprocal_vectors(self.calibrant, self.all_hkl)
        vectors = np.empty((len(self.all_hkl), 3))
        phase = self.phase[self.all_number - 1]
        for k, material in enumerate(self.calibrants):
            vectors[phase == k] = reciprocal_vectors(material, self.all_hkl[phase == k])
        return vectors

    def __repr__(self) -> str:
        """Say in one line how many rings of what there are, and where."""
        where = f", 2theta {range_of(self.two_theta[0], self.two_theta[-1], 'deg')}" if len(self) else ""
        return f"Rings({len(self)} of {self.name} at {self.wavelength:.6g} Å{where})"

    def _repr_html_(self) -> str:
        """Return a table of the first rings for notebooks."""
        shown = min(len(self), _ROWS_SHOWN)
        rows = [
            [
                str(self.number[i]),
                self.calibrant_of(i).name,
                " ".join(map(str, self.hkl[i].tolist())),
                str(self.multiplicity[i]),
                f"{self.d_spacing[i]:.5f}",
                f"{self.two_theta[i]:.4f}",
                "" if math.isnan(self.intensity[i]) else f"{100.0 * self.intensity[i]:.1f}",
            ]
            for i in range(shown)
        ]
        head = ("ring", "of", "h k l", "multiplicity", "d [Å]", "2θ [deg]", "m|F|² [%]")
        more = f"and {len(self) - shown} more" if shown < len(self) else ""
        return html_rows(f"Rings of {self.name} at {self.wavelength:.6g} Å", head, rows, more)


def rings(
    calibrant: Calibrant | Sequence[Calibrant],
    wavelength: float,
    *,
    two_theta_max: float | None = None,
    d_min: float | None = None,
) -> Rings:
    """Return the powder rings up to 2θ [deg] or down to d [Å], whichever limit is met first.

    Parameters
    ----------
    calibrant
        What diffracts. Several, as mixed in one exposure, give one list in which every ring knows its own: see
        `merged`.
    wavelength
        [Å].
    two_theta_max
        Largest 2θ [deg]; default None, no limit.
    d_min
        Smallest spacing [Å]; default None, no limit. One of the two is needed.

    Notes
    -----
    2θ by Bragg's law.

    Systematic absences come from the space group; |F|² from neutral-atom form factors (International Tables vol. C,
    table 6.1.1.4, as gemmi has them) with isotropic displacements, no anomalous scattering.

    Raises
    ------
    InputError
        The wavelength or a limit is missing or out of range, or more than two million reflections would be listed.

    Examples
    --------
    >>> from midas.crystal.calibrants import calibrant
    >>> r = rings(calibrant("LaB6"), 1.0, two_theta_max=30.0)
    >>> r.two_theta.round(3).tolist()
    [13.817, 19.588, 24.05, 27.84]
    """
    if isinstance(calibrant, str):
        raise InputError(
            f"calibrant is the name {calibrant!r}; expected a Calibrant, as midas.calibrant({calibrant!r}) is"
        )
    if not isinstance(calibrant, Calibrant):
        return merged([rings(c, wavelength, two_theta_max=two_theta_max, d_min=d_min) for c in calibrant])
    lowest_d = _lowest_d(wavelength, two_theta_max, d_min)
    hkl, d = _reflections(calibrant, lowest_d)
    number = 1 + np.concatenate([[0], np.cumsum(np.diff(d) < -SAME_D * d[1:])]) if len(d) else np.empty(0, np.int64)
    number = number.astype(np.int64)
    order = np.lexsort((-hkl[:, 2], -hkl[:, 1], -hkl[:, 0], (hkl < 0).sum(axis=1), number))
    hkl, d = hkl[order], d[order]
    first = np.flatnonzero(np.diff(number, prepend=0))
    strength = np.add.reduceat(_squared_factors(calibrant, hkl, d), first) if len(d) else np.empty(0)
    relative = strength / strength.max() if len(d) and calibrant.sites else strength
    relative = np.where(relative < 1e-12, 0.0, relative)  # |F|² that is zero but for rounding
    d_ring = d[first]
    two_theta = np.array([two_theta_from_d(v, wavelength) for v in d_ring])
    return Rings(
        calibrant=calibrant,
        wavelength=float(wavelength),
        number=_frozen(number[first]),
        d_spacing=_frozen(d_ring),
        two_theta=_frozen(two_theta),
        q=_frozen(np.array([q_from_two_theta(v, wavelength) for v in two_theta])),
        hkl=_frozen(hkl[first]),
        multiplicity=_frozen(np.bincount(number, minlength=1)[1:].astype(np.int64)),
        intensity=_frozen(relative),
        all_hkl=_frozen(hkl),
        all_number=_frozen(number),
    )


def merged(lists: Sequence[Rings]) -> Rings:
    """Return one list, d descending, of the rings of several calibrants at the same wavelength.

    Rings are numbered anew from 1. Rings of two calibrants stay two, even where their spacings agree. Intensities stay
    relative to each calibrant's strongest ring: how much of each is in the beam is not known.

    Raises
    ------
    InputError
        There is no list, the wavelengths differ, or a calibrant is there twice.

    Examples
    --------
    >>> from midas.crystal.calibrants import calibrant
    >>> both = merged([rings(calibrant(name), 0.2, d_min=2.0) for name in ("CeO2", "LaB6")])
    >>> both.name, [both.calibrant_of(k).name for k in range(len(both))]
    ('CeO2 + LaB6', ['LaB6', 'CeO2', 'LaB6', 'CeO2', 'LaB6', 'LaB6'])
    """
    lists = list(lists)
    if not lists:
        raise InputError("no calibrant is given; expected at least one")
    if len(lists) == 1:
        return lists[0]
    if len({r.wavelength for r in lists}) != 1:
        raise InputError(f"ring lists at the wavelengths {[r.wavelength for r in lists]} Å; expected one wavelength")
    materials = [c for r in lists for c in r.calibrants or (r.calibrant,)]
    for k, material in enumerate(materials):
        if material in materials[:k]:
            raise InputError(f"the calibrant {material.name} is given twice; name each once")
    start = np.cumsum([0] + [len(r.calibrants) or 1 for r in lists[:-1]])
    phase = np.concatenate([s + (np.zeros(len(r), np.int64) if r.phase is None else r.phase)
                            for s, r in zip(start, lists, strict=True)])  # fmt: skip
    d = np.concatenate([r.d_spacing for r in lists])
    order = np.argsort(-d, kind="stable")
    place = np.empty(len(d), dtype=np.int64)  # new number of each ring in the old order
    place[order] = np.arange(1, len(d) + 1)
    first = np.cumsum([0] + [len(r) for r in lists[:-1]])
    number = np.concatenate([place[f + r.all_number - 1] for f, r in zip(first, lists, strict=True)])
    rows = np.argsort(number, kind="stable")
    columns = {
        name: _frozen(np.concatenate([getattr(r, name) for r in lists])[order])
        for name in ("d_spacing", "two_theta", "q", "hkl", "multiplicity", "intensity")
    }
    return Rings(
        calibrant=materials[0],
        wavelength=lists[0].wavelength,
        number=_frozen(np.arange(1, len(d) + 1)),
        **columns,
        all_hkl=_frozen(np.concatenate([r.all_hkl for r in lists])[rows]),
        all_number=_frozen(number[rows]),
        calibrants=tuple(materials),
        phase=_frozen(phase[order]),
    )


def reciprocal_vectors(calibrant: Calibrant, hkl: IntArray) -> FloatArray:
    """Return the Cartesian reciprocal vectors of reflections, shape (n, 3) [Å⁻¹], of length 1/d.

    a* lies along x, b* in the xy plane: B of Busing and Levy, Acta Cryst. 22 (1967) 457, equation 3, without the 2π.

    Examples
    --------
    >>> from midas.crystal.calibrants import calibrant
    >>> (reciprocal_vectors(calibrant("Si"), np.array([[2, 0, 0]])) * 5.431144).round(6).tolist()
    [[2.0, 0.0, 0.0]]
    """
    hkl = np.asarray(hkl, dtype=np.int64).reshape(-1, 3)
    if calibrant.is_lamellar:
        return np.asarray(hkl * np.array([0.0, 0.0, 1.0 / calibrant.cell[2]]), dtype=np.float64)
    star = gemmi_cell(calibrant).reciprocal()
    alpha = math.radians(calibrant.cell[3])
    beta_star, gamma_star = math.radians(star.beta), math.radians(star.gamma)
    matrix = np.array(
        [
            [star.a, star.b * math.cos(gamma_star), star.c * math.cos(beta_star)],
            [0.0, star.b * math.sin(gamma_star), -star.c * math.sin(beta_star) * math.cos(alpha)],
            [0.0, 0.0, 1.0 / calibrant.cell[2]],
        ]
    )
    return np.asarray(np.einsum("ij,kj->ik", hkl, matrix), dtype=np.float64)  # BLAS would wake its threads for this


def _lowest_d(wavelength: float, two_theta_max: float | None, d_min: float | None) -> float:
    if not _WAVELENGTH_RANGE[0] <= wavelength <= _WAVELENGTH_RANGE[1]:
        hint = " looks like an energy in keV" if wavelength > _WAVELENGTH_RANGE[1] else " is out of range"
        raise InputError(f"wavelength {wavelength:g}{hint}; midas takes Å, between 0.01 and 10")
    if two_theta_max is None and d_min is None:
        raise InputError("the ring list has no end; give two_theta_max [deg] or d_min [Å]")
    limits = [wavelength / 2.0]
    if two_theta_max is not None:
        if not 0.0 < two_theta_max <= 180.0:
            raise InputError(f"two_theta_max is {two_theta_max:g}; expected degrees, above 0 and at most 180")
        limits.append(wavelength / (2.0 * math.sin(math.radians(two_theta_max) / 2.0)))
    if d_min is not None:
        if not d_min > 0.0:
            raise InputError(f"d_min is {d_min:g}; expected Å, above 0")
        limits.append(d_min)
    return max(limits)


def _reflections(calibrant: Calibrant, d_min: float) -> tuple[IntArray, FloatArray]:
    """Return all reflections (n, 3) that the space group allows with d >= d_min, and d (n,), d descending."""
    if calibrant.is_lamellar:
        order = np.arange(1, math.floor(calibrant.cell[2] / d_min * (1.0 + 1e-12)) + 1)
        l_index = np.repeat(order, 2) * np.tile([1, -1], len(order))
        hkl = np.zeros((len(l_index), 3), dtype=np.int64)
        hkl[:, 2] = l_index
        return hkl, calibrant.cell[2] / np.abs(l_index)
    cell = gemmi_cell(calibrant)
    expected = 4.0 / 3.0 * math.pi * cell.volume / d_min**3
    if expected > _MOST_REFLECTIONS:
        raise InputError(
            f"{calibrant.name} has about {expected:.2g} reflections down to d = {d_min:.3g} Å; "
            "lower two_theta_max or raise d_min"
        )
    limits = [math.floor(edge / d_min * (1.0 + 1e-12)) for edge in calibrant.cell[:3]]
    axes = np.meshgrid(*(np.arange(-n, n + 1) for n in limits), indexing="ij")
    hkl = np.stack([a.ravel() for a in axes], axis=1)
    inverse_d = np.linalg.norm(reciprocal_vectors(calibrant, hkl), axis=1)
    hkl = hkl[(inverse_d > 0.0) & (inverse_d <= (1.0 + 1e-12) / d_min)]
    operations = find_space_group(calibrant.space_group).operations()
    absent = operations.systematic_absences(np.ascontiguousarray(hkl, dtype=np.int32))
    hkl = hkl[~np.asarray(absent, dtype=bool)]
    d = 1.0 / np.linalg.norm(reciprocal_vectors(calibrant, hkl), axis=1)
    order = np.argsort(-d, kind="stable")
    return hkl[order], d[order]


def _squared_factors(calibrant: Calibrant, hkl: IntArray, d: FloatArray) -> FloatArray:
    """Return |F|² of each reflection [electrons²], shape (n,); NaN without atoms.

    F = sum_j o_j f_j(s) exp(-8π² U_j s²) exp(2πi h·x_j) with s = sin(θ)/λ = 1/2d.
    """
    if not calibrant.sites:
        return np.full(len(hkl), np.nan)
    squared_s = 0.25 / d**2
    factor = np.zeros(len(hkl), dtype=np.complex128)
    for site in _unit_cell_sites(calibrant):
        coefficients = site.element.it92
        amplitude = coefficients.c + sum(
            a * np.exp(-b * squared_s) for a, b in zip(coefficients.a, coefficients.b, strict=True)
        )
        damping = np.exp(-8.0 * math.pi**2 * site.u_iso * squared_s)
        phase = 2.0 * math.pi * (hkl @ np.array([site.fract.x, site.fract.y, site.fract.z]))
        factor += site.occ * amplitude * damping * np.exp(1j * phase)
    return np.abs(factor) ** 2


def _unit_cell_sites(calibrant: Calibrant) -> list[Any]:
    import gemmi

    structure = gemmi.SmallStructure()
    structure.cell = gemmi_cell(calibrant)
    structure.spacegroup = find_space_group(calibrant.space_group)
    structure.spacegroup_hm = structure.spacegroup.xhm()
    for atom in calibrant.sites:
        site = gemmi.SmallStructure.Site()
        site.element = gemmi.Element(atom.element)
        site.fract = gemmi.Fractional(atom.x, atom.y, atom.z)
        site.u_iso = atom.u_iso
        site.occ = atom.occupancy
        structure.add_site(site)
    structure.setup_cell_images()
    return list(structure.get_all_unit_cell_sites())


def _frozen(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    values.setflags(write=False)
    return values
