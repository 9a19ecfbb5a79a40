"""A calibration as parts of a report: verdict, image with rings, image unrolled, strains, values, correlations."""

from __future__ import annotations

import base64
import html
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas.calibration.files import PICTURE_NAMES, STRONG_CORRELATION
from midas.calibration.plot_rings import (
    PREDICTED,
    binned,
    in_sectors,
    level_limits,
    missing_rings,
    over_background,
    predicted_arcs,
    unrolled_rings,
)
from midas.calibration.plot_strain import BLUE, GREY, RED, in_pixels, strain_limit
from midas.calibration.values import correlations, label_of, read_out
from midas.report import Part
from midas.report.encode import log_range, packed, packed_log, shown_range
from midas.report.figures import GAP, Figure, axis, buttons, colorbar, layout, line, plot, points, table, verdict
from midas.units import UM_PER_MM

if TYPE_CHECKING:
    from midas.calibration.joint_result import JointCalibration
    from midas.calibration.result import Calibration

CELLS = 700_000
"""Cells of the images of a report together: enough to see a ring's shape, few enough to be mailed."""
CELLS_ALONE = 1_100_000
"""Cells of an image that has a report of its own."""
MOST_POINTS = 4000
_MICRO = 1e6
_MOST_CORRELATED = 40


def calibration_part(calibration: Calibration, *, name: str = "", place: str = "cal", cells: int = CELLS) -> Part:
    """Return the section of a calibration.

    `name` says which image it is, `place` begins the ids of its figures.
    """
    body = [
        verdict(calibration.verdict.upper(), _in_words(calibration), calibration.reasons, kind=calibration.verdict),
        _image_html(calibration, place, cells),
        _unrolled_html(place),
        _strain_html(calibration, place),
        _numbers_html(calibration, place),
    ]
    figures = {
        f"{place}-image": _image(calibration, cells),
        f"{place}-unrolled": _unrolled(calibration),
        f"{place}-two-theta": _against_two_theta(calibration),
        f"{place}-eta": _against_eta(calibration),
        f"{place}-detector": _on_detector(calibration),
        f"{place}-rings": _ring_by_ring(calibration),
    }
    if len(calibration.parameters) > 1:
        figures[f"{place}-correlation"] = _correlation(calibration)
    return Part(
        f"Calibration{f' of {name}' if name else ''}",
        "".join(body),
        figures,
        status=calibration.verdict.upper(),
        kind=calibration.verdict,
    )


def joint_parts(joint: JointCalibration) -> list[Part]:
    """Return the sections of images calibrated together: all of them, then each."""
    wavelength = f"{joint.wavelength:.7f}" + (f" ± {joint.wavelength_esd:.7f}" if joint.wavelength_esd else "")
    words = (
        f"{len(joint.images)} images together, wavelength {wavelength} Å, mean strain {joint.mean_strain * 1e6:.1f} µε"
        f"{_held_out(joint.held_out_strain)}"
    )
    rows = [
        (n, c.verdict, f"{c.geometry.distance / UM_PER_MM:.4f}", *(f"{v:.3f}" for v in c.geometry.beam_center),
         f"{c.mean_strain * _MICRO:.1f}", f"{a.mean_strain * _MICRO:.1f}")
        for n, c, a in zip(joint.names, joint.images, joint.alone, strict=True)
    ]  # fmt: skip
    head = ("image", "verdict", "distance [mm]", "beam y [px]", "beam z [px]", "strain [µε]", "alone [µε]")
    body = verdict(joint.verdict.upper(), words, joint.reasons, kind=joint.verdict) + table(head, rows, css="numbers")
    cells = max(40_000, CELLS // len(joint.images))
    each = [
        calibration_part(c, name=n, place=f"cal{i}", cells=cells)
        for i, (n, c) in enumerate(zip(joint.names, joint.images, strict=True))
    ]
    return [Part("Joint calibration", body, status=joint.verdict.upper(), kind=joint.verdict), *each]


def record_part(record: Mapping[str, Any], folder: Path) -> Part:
    """Return the section of a calibration of which only its files are left: `calibration.json`, and the picture."""
    geometry, esd = record["geometry"], record["esd"]
    distance = f"{record['calibrant']}, distance {geometry['distance'] / UM_PER_MM:.3f} mm"
    words = f"{distance}, mean strain {record['mean_strain'] * _MICRO:.1f} µε; kept from an earlier run"
    body = verdict(record["verdict"].upper(), words, record["reasons"], kind=record["verdict"])
    picture = folder / PICTURE_NAMES["overview"]
    if picture.is_file():
        data = base64.b64encode(picture.read_bytes()).decode("ascii")
        body += f'<figure><img class="picture" alt="calibration" src="data:image/png;base64,{data}"></figure>'
    rows = [(name, f"{value:.3g}") for name, value in esd.items() if value is not None]
    body += "<h3>Standard uncertainties</h3>" + table(("", "esd [µm, px, deg]"), rows, css="numbers")
    text = html.escape(json.dumps(record, indent=1, ensure_ascii=False))
    body += f"<details><summary>All of it, as in calibration.json</summary><pre>{text}</pre></details>"
    return Part("Calibration", body, status=record["verdict"].upper(), kind=record["verdict"])


def _held_out(strain: float) -> str:
    return f" (held out {strain * _MICRO:.1f})" if math.isfinite(strain) else ""


def _in_words(calibration: Calibration) -> str:
    g = calibration.geometry
    return (
        f"{calibration.calibrant}, distance {g.distance / UM_PER_MM:.3f} mm, beam y {g.beam_center[0]:.2f}, "
        f"z {g.beam_center[1]:.2f} px, mean strain {calibration.mean_strain * _MICRO:.1f} µε"
        f"{_held_out(calibration.held_out_strain)}"
    )


def _binning(calibration: Calibration, cells: int) -> int:
    n_z, n_y = calibration.image.shape
    return max(1, math.ceil(math.sqrt(n_z * n_y / cells)))


def _image_html(calibration: Calibration, place: str, cells: int) -> str:
    n = _binning(calibration, cells)
    shape = "each pixel of the detector is shown" if n == 1 else f"each cell is the mean of {n} × {n} pixels"
    choice = buttons(f"{place}-image", (("log", "log"), ("sqrt", "root"), ("linear", "linear")), "log", "scale")
    caption = (
        f"Image; {shape}. Orange: predicted rings, in every other sector, so that the ring itself shows between. "
        "Pale blue: masked. Drag to zoom, double-click to see all."
    )
    return (
        f'<h3>Image and rings</h3><p class="controls">{choice}</p>'
        f"{plot(f'{place}-image', caption, shape='square', label='image of the calibrant with the predicted rings')}"
    )


def _image(calibration: Calibration, cells: int) -> Figure:
    image = calibration.image
    n_z, n_y = image.shape
    n = _binning(calibration, cells)
    mean = binned(image.counts, image.mask, n)
    low, high = log_range(mean)
    y0, z0 = 0.5 * (n - 1), 0.5 * (n - 1)
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": packed_log(mean, low, high),
        "x0": y0, "dx": n, "y0": z0, "dy": n,
        "colorscale": [[0.0, "#ffffff"], [1.0, "#0a0a0a"]],
        "colorbar": colorbar("counts"),
        "scaled": {"how": "log", "range": shown_range(mean)},
        "name": "image",
        "hoverlabel": {"align": "left"},
        "hovertemplate": "y %{x:.0f}, z %{y:.0f} px<br>%{text} counts<extra></extra>",
    }  # fmt: skip
    y, z = predicted_arcs(calibration)
    traces = [heat, line(y, z, "predicted rings", PREDICTED, width=1.2, hoverinfo="skip")]
    by, bz = calibration.geometry.beam_center
    near = -0.3 * n_y < by < 1.3 * n_y and -0.3 * n_z < bz < 1.3 * n_z
    if near:
        look = {"symbol": "cross-thin", "line": {"color": "#0550ae", "width": 3}}
        traces.append(points([by], [bz], "beam", "#0550ae", size=16, marker=look, hovertemplate=_HOVER_BEAM))
    reach_y = [min(-0.5, by) if near else -0.5, max(n_y - 0.5, by) if near else n_y - 0.5]
    reach_z = [max(n_z - 0.5, bz) if near else n_z - 0.5, min(-0.5, bz) if near else -0.5]
    x_axis = axis("y, column [px]", range=reach_y, constrain="domain", showgrid=False)
    y_axis = axis("z, row [px]", range=reach_z, scaleanchor="x", constrain="domain", showgrid=False)
    return {"data": traces, "layout": layout(x_axis, y_axis, plot_bgcolor=GAP)}


_HOVER_BEAM = "beam: y %{x:.3f}, z %{y:.3f} px<extra></extra>"


def _unrolled_html(place: str) -> str:
    caption = (
        "The image unrolled, intensity over the background of its radius on a logarithmic scale. A ring that lies "
        "straight on its orange line is where the geometry puts it; dotted red: a bright ring was expected, none found."
    )
    return f"<h3>Unrolled</h3>{plot(f'{place}-unrolled', caption, label='image over radius and azimuth')}"


def _unrolled(calibration: Calibration) -> Figure:
    cake, (low, high) = unrolled_rings(calibration)
    level = over_background(cake)
    darkest, brightest = level_limits(level)
    code = np.rint(250.0 * np.clip((level - darkest) / max(brightest - darkest, 1e-9), 0.0, 1.0))
    n_radius, n_eta = cake.shape
    step = (high - low) / n_radius
    heat: dict[str, Any] = {
        "type": "heatmap",
        "z": {**packed(np.where(np.isfinite(level), np.nan_to_num(code), 255), "u1"), "gap": 255},
        "x0": -180.0 + 180.0 / n_eta, "dx": 360.0 / n_eta, "y0": low + 0.5 * step, "dy": step,
        "colorscale": [[0.0, "#ffffff"], [1.0, "#0a0a0a"]],
        "showscale": False,
        "zmin": 250.0 * max(0.0, (-0.7 - darkest) / max(brightest - darkest, 1e-9)), "zmax": 250.0,
        "hovertemplate": "η %{x:.1f} deg, R %{y:.1f} px<extra></extra>",
    }  # fmt: skip
    eta = np.linspace(-180.0, 180.0, 361)
    radius = np.array([ring.radius for ring in calibration.ring_table])
    row = np.clip(((radius - low) / step).astype(np.int64), 0, n_radius - 1)
    near = np.isfinite(cake[row])
    column = np.clip(((eta + 180.0) * n_eta / 360.0).astype(np.int64), 0, n_eta - 1)
    shown = in_sectors(eta) & near[:, column] if len(radius) else np.zeros((0, len(eta)), bool)
    level_y = np.where(shown, radius[:, None], np.nan)
    traces = [heat, line(np.tile(eta, len(radius)), level_y.ravel(), "predicted rings", PREDICTED, hoverinfo="skip")]
    for i, missing in enumerate(missing_rings(calibration)):
        look = {"line": {"color": RED, "width": 2, "dash": "dot"}, "showlegend": i == 0}
        traces.append({**line([-180.0, 180.0], [missing, missing], "expected, not found", RED), **look})
    seen = -180.0 + (np.flatnonzero(np.isfinite(cake).any(axis=0)) + 0.5) * 360.0 / n_eta
    few = len(seen) > 0 and np.ptp(seen) < 180.0
    x_range = [float(seen.min()) - 3.0, float(seen.max()) + 3.0] if few else [-180.0, 180.0]
    x_axis = axis("η [deg] (0: to higher rows, 90: to higher columns)", range=x_range, **({} if few else {"dtick": 60}))
    return {
        "data": traces,
        "layout": layout(
            x_axis,
            axis("R [px]", range=[low, high]),
            plot_bgcolor=GAP,
            annotations=_ring_names(calibration, high - low),
            margin={"l": 56, "r": 44, "t": 34, "b": 46},
        ),
    }


def _ring_names(calibration: Calibration, height: float) -> list[dict[str, Any]]:
    """Return the names of the rings at the right edge, as many as have room."""
    named: list[dict[str, Any]] = []
    last = -math.inf
    for ring in calibration.ring_table:
        if ring.radius - last > 0.055 * height:
            text = " ".join(str(i) for i in ring.hkl) if max(ring.hkl) > 9 else "".join(str(i) for i in ring.hkl)
            named.append({"text": text, "x": 1.0, "xref": "paper", "xanchor": "left", "y": ring.radius,
                          "showarrow": False, "font": {"size": 11}})  # fmt: skip
            last = ring.radius
    return named


def _strain_html(calibration: Calibration, place: str) -> str:
    limit = strain_limit(calibration.strain[calibration.used])
    share = _share(calibration)
    few = f" Every {share}th of the points is drawn." if share > 1 else ""
    captions = {
        "two-theta": "Pseudo-strain of each point on a ring, 1 - R / R ideal. Flat about 0 is right; "
        f"{in_pixels(calibration, limit)}.{few}",
        "eta": "The same against azimuth: a wave means a wrong beam centre or tilt, two waves a distortion.",
        "detector": "The same where the points lie on the detector: steps mean panels that are out of place.",
    }
    captions["rings"] = "Mean size of the pseudo-strain of each ring; dashed: of all points used."
    words = {"two-theta": "strain against 2θ", "eta": "strain against azimuth", "detector": "strain on the detector"}
    words["rings"] = "strain ring by ring"
    drawn = "".join(
        plot(f"{place}-{key}", text, shape="square small" if key == "detector" else "small", label=words[key])
        for key, text in captions.items()
    )
    return f'<h3>Pseudo-strain</h3><div class="side">{drawn}</div>'


def _share(calibration: Calibration) -> int:
    return max(1, math.ceil(len(calibration.points) / MOST_POINTS))


def _against_two_theta(calibration: Calibration) -> Figure:
    p, used, share = calibration.points, calibration.used, _share(calibration)
    two_theta = np.degrees(np.arctan(p.tan_two_theta))
    strain = calibration.strain * _MICRO
    limit = strain_limit(calibration.strain[used])
    rejected = np.isin(p.ring, [r.number - 1 for r in calibration.ring_table if r.outlier])
    kinds = (
        ("used", used, BLUE, "circle", 4.0),
        ("left out", ~used & ~rejected, GREY, "x", 6.0),
        ("rejected ring", rejected & ~used, RED, "triangle-up-open", 6.0),
    )
    hover = "2θ %{x:.3f} deg, %{y:.0f} µε<extra></extra>"
    traces = [
        points(two_theta[w][::share], strain[w][::share], label, color, size=size, symbol=symbol,
               opacity=0.7, hovertemplate=hover)
        for label, w, color, symbol, size in kinds if w.any()
    ]  # fmt: skip
    means = [(r.two_theta, r.bias * _MICRO) for r in calibration.ring_table if r.n_points and not r.outlier]
    x, y = np.reshape(means, (-1, 2)).T
    look = {"symbol": "line-ew-open", "line": {"width": 2.5}}
    traces.append(points(x, y, "mean of the ring", "#000000", size=13, marker=look, hovertemplate=hover))
    y_axis = axis("pseudo-strain [µε]", range=[-limit, limit], zeroline=True, zerolinecolor="#57606a")
    return {"data": traces, "layout": layout(axis("2θ [deg]"), y_axis)}


def _against_eta(calibration: Calibration) -> Figure:
    share = _share(calibration)
    p = calibration.points.select(calibration.used)
    strain = calibration.strain[calibration.used] * _MICRO
    limit = strain_limit(calibration.strain[calibration.used])
    look = {"colorscale": "Viridis", "colorbar": colorbar("R [px]")}
    hover = "η %{x:.1f} deg, R %{marker.color:.0f} px<br>%{y:.0f} µε<extra></extra>"
    traces = [points(p.eta[::share], strain[::share], "points", packed(p.radius[::share], "f4"), size=5.0,
                     marker=look, hovertemplate=hover, showlegend=False)]  # fmt: skip
    if len(p):
        _, group = np.unique(p.eta_bin, return_inverse=True)
        count = np.bincount(group)
        mean = np.bincount(group, p.eta) / count, np.bincount(group, strain) / count
        line_look = {"symbol": "line-ew-open", "line": {"width": 2}}
        traces.append(points(*mean, "mean of the azimuth", "#000000", size=9, marker=line_look))
    y_axis = axis("pseudo-strain [µε]", range=[-limit, limit], zeroline=True, zerolinecolor="#57606a")
    few = len(p) > 0 and np.ptp(p.eta) < 180.0
    x_axis = axis(
        "η [deg] (0: to higher rows, 90: to higher columns)", **({} if few else {"dtick": 60, "range": [-180, 180]})
    )
    return {"data": traces, "layout": layout(x_axis, y_axis)}


def _on_detector(calibration: Calibration) -> Figure:
    share = _share(calibration)
    p = calibration.points.select(calibration.used)
    strain = calibration.strain[calibration.used]
    limit = strain_limit(strain) / 1.3
    scale = {"colorscale": "RdBu", "cmin": -limit, "cmax": limit, "colorbar": colorbar("µε"),
             "line": {"width": 0.5, "color": "#57606a"}}  # fmt: skip
    hover = "y %{x:.1f}, z %{y:.1f} px<br>%{marker.color:.0f} µε<extra></extra>"
    drawn = points(p.y[::share], p.z[::share], "points", packed(strain[::share] * _MICRO, "f4"), size=6.0,
                   marker=scale, hovertemplate=hover, showlegend=False)  # fmt: skip
    n_z, n_y = calibration.image.shape
    x_axis = axis("y, column [px]", range=[-0.5, n_y - 0.5], constrain="domain")
    y_axis = axis("z, row [px]", range=[n_z - 0.5, -0.5], scaleanchor="x", constrain="domain")
    return {"data": [drawn], "layout": layout(x_axis, y_axis)}


def _ring_by_ring(calibration: Calibration) -> Figure:
    traces = []
    for label, is_out, color in (("used", False, BLUE), ("rejected ring", True, RED)):
        chosen = [r for r in calibration.ring_table if r.outlier == is_out]
        if chosen:
            names = [" ".join(str(i) for i in r.hkl) for r in chosen]
            words = [f"{n}, {r.n_points} points" for n, r in zip(names, chosen, strict=True)]
            x, y = packed([r.two_theta for r in chosen], "f4"), packed([r.mean_strain * _MICRO for r in chosen], "f4")
            traces.append({"type": "bar", "x": x, "y": y, "name": label, "text": words, "textposition": "none",
                           "marker": {"color": color}, "width": _bar_width(calibration),
                           "hovertemplate": "%{text}<br>2θ %{x:.3f} deg, %{y:.1f} µε<extra></extra>"})  # fmt: skip
    mean = calibration.mean_strain * _MICRO
    dashed = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": mean, "y1": mean,
              "line": {"color": "#1c2128", "width": 1.2, "dash": "dash"}}  # fmt: skip
    return {"data": traces, "layout": layout(axis("2θ [deg]"), axis("mean |strain| [µε]"), shapes=[dashed])}


def _bar_width(calibration: Calibration) -> float:
    two_theta = sorted(r.two_theta for r in calibration.ring_table)
    return max(0.004 * (two_theta[-1] - two_theta[0]), 0.01) if two_theta else 0.1


def _correlation(calibration: Calibration) -> Figure:
    found = correlations(calibration.covariance)[:_MOST_CORRELATED, :_MOST_CORRELATED]
    names = list(calibration.parameters[:_MOST_CORRELATED])
    heat = {
        "type": "heatmap", "x": names, "y": names, "z": packed(found, "f4"), "zmin": -1, "zmax": 1,
        "colorscale": "RdBu", "colorbar": colorbar(""),
        "hovertemplate": "%{y}, %{x}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    y_axis = axis("", autorange="reversed", showgrid=False, tickfont={"size": 11})
    return {"data": [heat], "layout": layout(axis("", showgrid=False, tickangle=-60, tickfont={"size": 11}), y_axis)}


def _numbers_html(calibration: Calibration, place: str) -> str:
    rows = [(name, value, unit) for name, value, unit in read_out(calibration) if name or value]
    found = table(("", "value(esd)", "unit"), rows, css="numbers")
    found += "<p>In brackets: the standard uncertainty, in units of the last digit. Values without brackets were not "
    found += "refined.</p>"
    strong = _strong_html(calibration)
    rings = table(
        ("ring", "hkl", "d [Å]", "2θ [deg]", "R [px]", "points", "mean |strain| [µε]", "bias [µε]", "FWHM [px]", ""),
        [
            (str(r.number), " ".join(str(i) for i in r.hkl), f"{r.d_spacing:.5f}", f"{r.two_theta:.4f}",
             f"{r.radius:.2f}", str(r.n_points), f"{r.mean_strain * _MICRO:.1f}",
             f"{r.bias * _MICRO:+.1f}", f"{r.fwhm:.2f}",
             "rejected" if r.outlier else "")
            for r in calibration.ring_table
        ],
        css="numbers",
    )  # fmt: skip
    correlation = ""
    if len(calibration.parameters) > 1:
        shown = plot(f"{place}-correlation", "Correlation of each pair of refined parameters.", shape="square small")
        correlation = f"<div><h3>Correlations</h3>{strong}{shown}</div>"
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in calibration.notes)
    notes = f"<h3>Notes</h3><ul>{notes}</ul>" if notes else ""
    record = html.escape(json.dumps(calibration.as_dict(), indent=1, ensure_ascii=False))
    end = f"{calibration.reason}; {len(calibration.history)} iterations, {calibration.seconds:.1f} s."
    return (
        f'<div class="side"><div><h3>Parameters</h3>{found}</div>{correlation}</div>{notes}'
        f"<details><summary>{len(calibration.ring_table)} rings</summary>{rings}</details>"
        f"<details><summary>All of it, as in calibration.json</summary><pre>{record}</pre></details>"
        f"<p>{html.escape(end)}</p>"
    )


def _strong_html(calibration: Calibration) -> str:
    """Name the pairs that the points tell apart badly, the worst first."""
    found = calibration.as_dict()["strong_correlations"]
    worst = sorted(found, key=lambda pair: -abs(pair["correlation"]))[:8]
    if not worst:
        return f"<p>No pair is correlated beyond {STRONG_CORRELATION:g}.</p>"
    said = "; ".join(f"{_said(p['between'][0])} and {_said(p['between'][1])} {p['correlation']:+.3f}" for p in worst)
    more = f"; {len(found) - len(worst)} more" if len(found) > len(worst) else ""
    return f"<p>Beyond {STRONG_CORRELATION:g}: {html.escape(said)}{more}.</p>"


def _said(name: str) -> str:
    """Return a parameter as people read it; what has no label keeps its name."""
    from midas.errors import InputError

    try:
        return label_of(name)[0]
    except InputError:
        return name
