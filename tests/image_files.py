"""Image files of every format, each written by a library that is not ours, or by bytes laid down here."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fabio
import h5py
import hdf5plugin
import numpy as np
import tifffile
import zarr

ROWS, COLUMNS = 24, 18
HEAD_SIZE = 4096
"""Of the GE files here, unlike the 8192 taken when nobody says."""

Write = Callable[[Path, np.ndarray], None]


@dataclass(frozen=True)
class Format:
    """A kind of file, and what can be done with it."""

    name: str
    """For people."""
    file: str
    """Name of a file of this kind."""
    write: Write
    """Writes a stack, shape (n_frames, n_z, n_y), to a path."""
    dtype: str = "u2"
    """Of the pixels: some formats know only one."""
    several: bool = True
    """Whether a file holds more than one frame."""
    mask: bool = True
    """Whether a mask can be read from a file of this kind."""
    tree: bool = False
    """Whether a dark may lie in the same file, at exchange/dark."""
    mask_inside: bool = False
    """Whether a mask may, at exchange/mask: where the images are in exchange, too."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For `read_frames`."""

    @property
    def id(self) -> str:
        return f"{self.name} {self.file}"


def zarr_group(store: object, zarr_format: int = 2) -> Any:
    """A new group, by either generation of the library."""
    if zarr.__version__.startswith("2"):
        return zarr.open_group(store, mode="w")
    return zarr.open_group(store, mode="w", zarr_format=zarr_format)


def add_to_tree(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Further stacks in a file that is there."""
    if path.suffix in (".h5", ".nxs"):
        with h5py.File(path, "a") as file:
            for name, data in arrays.items():
                file[name] = data
        return
    store = zarr.storage.ZipStore(str(path), mode="a") if path.suffix == ".zip" else str(path)
    group = zarr.open_group(store, mode="a")
    for name, data in arrays.items():
        zarr_put(group, name, data)
    if path.suffix == ".zip":
        store.close()


def zarr_put(group: Any, name: str, data: np.ndarray) -> None:
    create = group.create_array if hasattr(group, "create_array") else group.create_dataset
    array = create(name, shape=data.shape, dtype=data.dtype, chunks=(1, *data.shape[1:]))
    array[...] = data


def write_ge(path: Path, stack: np.ndarray) -> None:
    path.write_bytes(b"\x07" * HEAD_SIZE + stack.astype("<u2").tobytes())


def write_tree(path: Path, arrays: Mapping[str, np.ndarray], **options: Any) -> None:
    """Named stacks to HDF5, a zarr folder or a zip, as the name says."""
    if path.suffix in (".h5", ".nxs"):
        with h5py.File(path, "w") as file:
            for name, data in arrays.items():
                file.create_dataset(name, data=data, chunks=(1, *data.shape[1:]) if options else None, **options)
        return
    store = zarr.storage.ZipStore(str(path), mode="w") if path.suffix == ".zip" else str(path)
    group = zarr_group(store)
    for name, data in arrays.items():
        zarr_put(group, name, data)
    if path.suffix == ".zip":
        store.close()


def tree_with(**options: Any) -> Write:
    return lambda path, stack: write_tree(path, {"exchange/data": stack}, **options)


def write_external(path: Path, stack: np.ndarray) -> None:
    """HDF5 whose pixels lie in two raw files beside it."""
    half = len(stack) // 2
    parts = [stack[:half], stack[half:]] if half else [stack]
    names = []
    for k, part in enumerate(parts):
        raw = path.with_name(f"{path.stem}_{k}.raw")
        raw.write_bytes(b"\x01" * 16 + part.tobytes())
        names.append((str(raw), 16, part.nbytes))
    with h5py.File(path, "w") as file:
        file.create_dataset("exchange/data", shape=stack.shape, dtype=stack.dtype, external=names)


def write_virtual(path: Path, stack: np.ndarray) -> None:
    """HDF5 whose frames are each in a file of its own, put together by a virtual data set."""
    layout = h5py.VirtualLayout(shape=stack.shape, dtype=stack.dtype)
    for k, frame in enumerate(stack):
        part = path.with_name(f"{path.stem}_frame{k}.h5")
        with h5py.File(part, "w") as file:
            file["pixels"] = frame
        layout[k] = h5py.VirtualSource(part.name, "pixels", shape=frame.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("exchange/data", layout)


def write_nexus(path: Path, stack: np.ndarray) -> None:
    """NeXus: `default` and `signal` lead to the images; other stacks are there to be mistaken for them."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "scan_2"
        for name in ("scan_1", "scan_2"):
            entry = file.create_group(name)
            entry.attrs["NX_class"] = "NXentry"
            entry.attrs["default"] = "pilatus"
            for group in ("pilatus", "monitor"):
                data = entry.create_group(group)
                data.attrs["NX_class"] = "NXdata"
                data.attrs["signal"] = "counts"
                data.attrs["axes"] = ["omega", "z", "y"]
                right = (name, group) == ("scan_2", "pilatus")
                data["counts"] = stack if right else np.zeros_like(stack)
                data["flat"] = np.ones_like(stack)
                data["omega"] = np.arange(len(stack), dtype=float)


def write_eiger(path: Path, stack: np.ndarray) -> None:
    """An Eiger master: links to data files of at most two images, the last one shorter, and a pixel mask."""
    stem = path.name.removesuffix("_master.h5")
    links = {}
    for k in range(0, len(stack), 2):
        part = path.with_name(f"{stem}_data_{k // 2 + 1:06d}.h5")
        images = stack[k : k + 2]
        with h5py.File(part, "w") as file:
            data = file.create_dataset(
                "entry/data/data", data=images, chunks=(1, *stack.shape[1:]), **hdf5plugin.Bitshuffle(cname="lz4")
            )
            data.attrs["image_nr_low"], data.attrs["image_nr_high"] = k + 1, k + len(images)
        links[f"data_{k // 2 + 1:06d}"] = part.name
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["NX_class"] = "NXentry"
        data = entry.create_group("data")
        data.attrs["NX_class"] = "NXdata"
        data.attrs["signal"] = "data_000001"  # as some firmware writes it: the first file's images only
        for name, target in links.items():
            data[name] = h5py.ExternalLink(target, "entry/data/data")
        specific = entry.create_group("instrument/detector/detectorSpecific")
        specific["pixel_mask"] = np.zeros(stack.shape[1:], np.uint32)
        specific["flatfield"] = np.ones(stack.shape[1:], np.float32)


def write_tiff_pages(path: Path, stack: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as writer:
        for frame in stack:
            writer.write(frame, photometric="minisblack", contiguous=False, metadata=None)


def write_tiff_zlib(path: Path, stack: np.ndarray) -> None:
    tifffile.imwrite(path, stack, compression="zlib", predictor=True, photometric="minisblack", metadata=None)


def write_tiff_lzw(path: Path, stack: np.ndarray) -> None:
    from PIL import Image

    first, *others = [Image.fromarray(frame) for frame in stack]
    first.save(path, compression="tiff_lzw", save_all=True, append_images=others)


def by_fabio(kind: str) -> Write:
    def write(path: Path, stack: np.ndarray) -> None:
        image = fabio.factory(kind)
        image.data = stack[0]
        if kind == "mar345image" and hasattr(image, "byteorder"):
            image.byteorder = type(image.byteorder)("<")  # which fabio leaves open
        for frame in stack[1:]:
            image.append_frame(data=frame)
        image.write(str(path))

    return write


def write_mccd(path: Path, stack: np.ndarray) -> None:
    """MarCCD: a TIFF whose pixels begin at byte 4096, with marccd's frame header of 3072 bytes from byte 1024 on."""
    rows, columns = stack.shape[1:]
    tags = [(256, 4, columns), (257, 4, rows), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 4096), (277, 3, 1),
            (278, 4, rows), (279, 4, 2 * rows * columns)]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack("<HHI", tag, kind, 1) + struct.pack(
            "<I" if kind == 4 else "<HH", *_padded(kind, value)
        )
    head = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    # header_type, header_name, versions, byte orders, header_size, frame_type, magic, compression and 6 of its
    # parameters, nheaders, nfast, nslow, depth.
    frame = struct.pack("<I16s", 2, b"MMX") + struct.pack("<19I", 1, 0, 1234, 1234, 3072, 1, 0, 0, *[0] * 6, 1, columns,
                                                          rows, 2, 16)  # fmt: skip
    path.write_bytes(head.ljust(1024, b"\0") + frame.ljust(3072, b"\0") + stack[0].astype("<u2").tobytes())


def _padded(kind: int, value: int) -> tuple[int, ...]:
    return (value,) if kind == 4 else (value, 0)


def write_raxis(path: Path, stack: np.ndarray) -> None:
    """Rigaku R-AXIS: a header of big-endian fields, sizes of the image at byte 768, then big-endian pixels.

    A pixel whose highest bit is set stands for the others times the ratio at byte 800.
    """
    rows, columns = stack.shape[1:]
    head = bytearray(1400)
    head[:10] = b"R-AXIS4\0\0\0"
    struct.pack_into(">ii", head, 768, columns, rows)
    struct.pack_into(">ff", head, 776, 0.1, 0.1)
    struct.pack_into(">iiii", head, 784, 2 * columns, rows, 0, 0)
    struct.pack_into(">f", head, 800, 8.0)
    counts = stack[0].astype(np.int64)
    large = counts > 0x7FFF
    assert (counts[large] % 8 == 0).all()
    pixels = np.where(large, counts // 8 + 0x8000, counts).astype(">u2")
    pad = -len(head) % (2 * columns)
    path.write_bytes(bytes(head) + bytes(pad) + pixels.tobytes())


def write_zarr(zarr_format: int) -> Write:
    return lambda path, stack: zarr_put(zarr_group(str(path), zarr_format), "exchange/data", stack)


_BITSHUFFLE = dict(hdf5plugin.Bitshuffle(cname="lz4"))
_BLOSC = dict(hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE))
_GE = {"head_size": HEAD_SIZE, "frame_shape": (ROWS, COLUMNS)}

FORMATS = (
    *(Format("GE", f"a.ge{n}", write_ge, mask=False, options=_GE) for n in ("", 1, 2, 3, 4, 5)),
    Format("HDF5, contiguous", "plain.h5", tree_with(), tree=True, mask_inside=True),
    Format("HDF5, gzip", "gzip.h5", tree_with(compression="gzip", shuffle=True), tree=True, mask_inside=True),
    Format("HDF5, bitshuffle and LZ4", "bitshuffle.h5", tree_with(**_BITSHUFFLE), tree=True, mask_inside=True),
    Format("HDF5, Blosc", "blosc.h5", tree_with(**_BLOSC), tree=True, mask_inside=True),
    Format("HDF5, external data set", "external.h5", write_external, tree=True, mask_inside=True),
    Format("HDF5, virtual data set", "virtual.h5", write_virtual, tree=True, mask_inside=True),
    Format("NeXus, by default and signal", "a.nxs", write_nexus, tree=True),
    Format("Eiger master", "a_master.h5", write_eiger, tree=True),
    Format("TIFF", "one.tif", write_tiff_pages, several=False),
    Format("TIFF, several pages", "pages.tif", write_tiff_pages),
    Format("TIFF, zlib", "zlib.tiff", write_tiff_zlib),
    Format("TIFF, LZW", "lzw.tif", write_tiff_lzw),
    Format("CBF", "a.cbf", by_fabio("cbfimage"), dtype="i4", several=False),
    Format("EDF", "a.edf", by_fabio("edfimage")),
    Format("MarCCD", "a.mccd", write_mccd, several=False),
    Format("Mar345", "a.mar2300", by_fabio("mar345image"), dtype="u4", several=False),
    Format("R-AXIS", "a.osc", write_raxis, several=False),
    Format("d*TREK, ADSC", "a.img", by_fabio("dtrekimage"), several=False),
    Format("zarr folder, format 2", "two.zarr", write_zarr(2), tree=True, mask_inside=True),
    Format("zarr folder, format 3", "three.zarr", write_zarr(3), tree=True, mask_inside=True),
    Format("MIDAS zip", "a.MIDAS.zip", tree_with(), tree=True, mask_inside=True),
    Format("NumPy", "a.npy", np.save),
)  # fmt: skip
"""Every kind of file that midas reads."""
