"""Caked files and maps looked into, a few sums at a time."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from midas.cake.map_file import StaleMapError, read_map_header
from midas.errors import FormatError
from midas.inspection.looks import spread_over
from midas.inspection.result import Fact, Inspection
from midas.version import version

_SUMS = "OmegaSumFrame"
_SUMMED = "Number Of Frames Summed"
_FEWEST_BINS = 20  # GSAS-II keeps an azimuth only with more bins that are not masked (docs/files.md)


def inspect_cake(path: Path) -> Inspection:
    """Return what a `.zarr.zip` holds.

    Raises
    ------
    FormatError
        It cannot be read, or lacks the axes or the sums.
    """
    import zarr

    store = zarr.storage.ZipStore(str(path), mode="r") if path.is_file() else None
    try:
        root: Any = zarr.open_group(store=store if store is not None else str(path), mode="r")
        return _inspect(path, root)
    except (KeyError, ValueError, TypeError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        if isinstance(error, FormatError):
            raise
        detail = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{path}: cannot be read as a caked zarr file: {detail}; it is corrupt") from error
    finally:
        if store is not None:
            store.close()


def _inspect(path: Path, root: Any) -> Inspection:
    rows = np.asarray(root["REtaMap"][...], dtype=np.float64)
    if rows.ndim != 3 or len(rows) < 4:
        raise FormatError(f"{path}: REtaMap has shape {rows.shape}; expected (4, n_radius, n_eta)")
    if _SUMS not in root:
        raise FormatError(f"{path}: has no {_SUMS}; expected a caked file of MIDAS or midas integrate")
    radius, two_theta, eta, area = rows[:4]
    sums: Any = root[_SUMS]
    names = sorted(sums.array_keys(), key=lambda name: (len(name), name))
    chosen = [names[i] for i in spread_over(list(range(len(names))))]
    looked = {name: np.asarray(sums[name][...], dtype=np.float64) for name in chosen}
    attributes = [dict(sums[name].attrs) for name in (names[:1] + names[-1:])]
    facts = [
        Fact("sums", f"{len(names)}, frames in the first: {_number(attributes[0], _SUMMED)}" if names else "0"),
        Fact("bins", f"{area.shape[0]} radius x {area.shape[1]} eta, {(area == 0.0).mean():.2%} masked"),
        Fact("radius", f"{radius.min():.6g} to {radius.max():.6g} px"),
        Fact("2theta", f"{two_theta.min():.4f} to {two_theta.max():.4f} deg"),
        Fact("eta", f"{eta.min():.6g} to {eta.max():.6g} deg"),
    ]
    if names:
        ends = f"{_number(attributes[0], 'FirstOme')} to {_number(attributes[-1], 'LastOme')} deg"
        facts.append(Fact("omega", ends))
    frames = len(list(root["IntegrationResult"].array_keys())) if "IntegrationResult" in root else 0
    facts.append(Fact("single frames", str(frames) if frames else "not kept"))
    facts.append(Fact("variance", "kept" if "OmegaSumFrameVariance" in root else "not kept"))
    facts += _instrument(root)
    used = area > 0.0
    whole = {name: values for name, values in looked.items() if values.shape == area.shape}
    counts = [values[used] for values in whole.values() if used.any()]
    if counts:
        text = f"min {min(c.min() for c in counts):.4g}, max {max(c.max() for c in counts):.4g}"
        facts.append(Fact("intensity", f"{text} of sums {', '.join(n.rpartition('_')[2] for n in whole)}"))
    shown, picture = next(iter(whole), ""), None
    if counts:
        picture = np.where(used, whole[shown], np.nan).T.astype(np.float32)
    return Inspection(
        path,
        "cake",
        "zarr",
        (len(names), *area.shape),
        "float64",
        tuple(facts),
        _cake_problems(root, area, looked),
        picture=picture,
        picture_name=shown,
        extent=(*_ends(radius[:, 0]), *_ends(eta[0])),
    )


def _instrument(root: Any) -> list[Fact]:
    facts = []
    if "InstrumentParameters" in root:
        group: Any = root["InstrumentParameters"]
        values = {name: float(np.asarray(group[name][...]).ravel()[0]) for name in sorted(group.array_keys())}
        facts.append(Fact("instrument", ", ".join(f"{name} {value:g}" for name, value in values.items())))
    own = dict(root.attrs).get("midas", {})
    if isinstance(own, dict) and own:
        geometry = own.get("geometry")
        transforms = geometry.get("image_transforms") if isinstance(geometry, dict) else None
        if transforms is not None:
            facts.append(Fact("image transforms", " ".join(map(str, transforms)) or "none", "midas"))
        facts.append(Fact("written by", f"midas {own.get('version', own.get('midas_version', ''))}".strip()))
    return facts


def _cake_problems(root: Any, area: np.ndarray, sums: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Return what is wrong with a cake, of which some sums were looked at."""
    problems = []
    looked = list(sums.values())
    if "InstrumentParameters" not in root:
        problems.append("it has no InstrumentParameters, which GSAS-II needs; integrate the frames again")
    if not sums:
        problems.append("it holds no summed pattern; the integration did not end")
    used = area > 0.0
    if not used.any():
        problems.append("every bin is masked: the bins lie off the detector, or the mask covers it")
        return tuple(problems)
    few = int(((used.sum(axis=0) <= _FEWEST_BINS) & used.any(axis=0)).sum())
    if few:
        problems.append(f"{few} azimuths have {_FEWEST_BINS} or fewer bins with pixels: GSAS-II leaves them out")
    wrong = [name for name, values in sums.items() if values.shape != area.shape]
    if wrong:
        problems.append(f"{_SUMS}/{wrong[0]} has another shape than REtaMap")
        return tuple(problems)
    if any(not np.isfinite(values[used]).all() for values in looked):
        problems.append("sums hold NaN or infinities in bins that are not masked: GSAS-II's fits fail on them")
    if looked and all(not np.any(values[used]) for values in looked):
        problems.append("every intensity is 0: were the frames empty?")
    if len(looked) > 1 and all(np.array_equal(looked[0], values) for values in looked[1:]):
        problems.append("the sums looked at are all the same to the last digit: was one frame repeated?")
    return tuple(problems)


def inspect_map(path: Path) -> Inspection:
    """Return what a `.cakemap` says of itself.

    Raises
    ------
    FormatError
        It is no map, truncated or corrupt.
    """
    try:
        header = read_map_header(path)
        shape = tuple(int(n) for n in header["shape"])
        rows, columns = (int(n) for n in header["frame_shape"])
        arrays = {str(name): int(entry[1]) for name, entry in header["arrays"].items()}
        program = str(header["program"])
    except StaleMapError as error:
        problem = f"{error}: it is built again when it is used"
        return Inspection(path, "map", "map of pixel areas", problems=(problem,))
    except FormatError as error:
        raise FormatError(f"{path}: {error}; remove it, it is built again when it is needed") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: the map cannot be read: {error}; remove it, it is built again") from error
    facts = (
        Fact("bins", f"{shape[0]} radius x {shape[1]} eta"),
        Fact("frames", f"{rows} rows x {columns} columns, as stored"),
        Fact("written by", f"midas {program}"),
        Fact("size", f"{path.stat().st_size / 1e6:.3g} MB"),
        Fact("arrays", ", ".join(f"{name} {n}" for name, n in arrays.items())),
        Fact("key", str(header["key"])[:32], "hash of geometry, detector, mask and bins"),
    )
    problems = []
    if program != version():
        problems.append(f"it was made by midas {program}, this is {version()}: it is built again when it is used")
    return Inspection(path, "map", "map of pixel areas", shape, facts=facts, problems=tuple(problems))


def _ends(centers: np.ndarray) -> tuple[float, float]:
    """Return the outer edges of bins of one width, in their order."""
    half = 0.5 * (centers[-1] - centers[0]) / (len(centers) - 1) if len(centers) > 1 else 0.5
    return float(centers[0] - half), float(centers[-1] + half)


def _number(attributes: dict[str, Any], name: str) -> str:
    value = attributes.get(name)
    return "?" if value is None else f"{float(np.asarray(value).ravel()[0]):g}"
