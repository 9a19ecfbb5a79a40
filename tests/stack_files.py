"""Stacks of images in every format that has several, each written by a library that is not ours, or by bytes."""

from __future__ import annotations

from pathlib import Path

import fabio
import h5py
import hdf5plugin
import numpy as np
import tifffile
import zarr

N, ROWS, COLUMNS = 4, 24, 17


def write_ge(path: Path, stack: np.ndarray, header: int = 8192) -> None:
    path.write_bytes(b"\x07" * header + stack.astype("<u2").tobytes())


def write_hdf5(path: Path, stack: np.ndarray, location: str = "exchange/data", **options: object) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(location, data=stack, chunks=(1, *stack.shape[1:]), **options)


def open_group(store: object) -> zarr.Group:
    """A new group in the old format, by either generation of the library."""
    if zarr.__version__.startswith("2"):
        return zarr.open_group(store, mode="w")
    return zarr.open_group(store, mode="w", zarr_format=2)


def put(group: zarr.Group, name: str, data: np.ndarray) -> None:
    create = group.create_array if hasattr(group, "create_array") else group.create_dataset
    array = create(name, shape=data.shape, dtype=data.dtype, chunks=(1, *data.shape[1:]))
    array[...] = data


def write_midas_zip(path: Path, stack: np.ndarray) -> None:
    store = zarr.storage.ZipStore(str(path), mode="w")
    root = open_group(store)
    put(root, "exchange/data", stack)
    put(root, "measurement/process/scan_parameters/start", np.array([-10.0]))
    put(root, "measurement/process/scan_parameters/step", np.array([0.25]))
    store.close()


def write_edf(path: Path, stack: np.ndarray) -> None:
    image = fabio.edfimage.EdfImage(data=stack[0])
    for frame in stack[1:]:
        image.append_frame(data=frame)
    image.write(str(path))


def write_stack(path: Path, stack: np.ndarray) -> None:
    """The stack in whatever format the name says."""
    name = path.name
    if name.endswith(".imagej.tif"):
        tifffile.imwrite(path, stack, imagej=True)
    elif name.endswith(".zlib.tif"):
        tifffile.imwrite(path, stack, compression="zlib", photometric="minisblack", metadata=None)
    elif name.endswith(".tif"):
        with tifffile.TiffWriter(path) as writer:
            for frame in stack:
                writer.write(frame, photometric="minisblack", contiguous=False, metadata=None)
    elif name.endswith(".bitshuffle.h5"):
        write_hdf5(path, stack, **hdf5plugin.Bitshuffle(cname="lz4"))
    elif name.endswith(".blosc.h5"):
        write_hdf5(path, stack, **hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE))
    elif name.endswith(".h5"):
        write_hdf5(path, stack)
    elif ".ge" in name:
        write_ge(path, stack)
    elif name.endswith(".npy"):
        np.save(path, stack)
    elif name.endswith(".MIDAS.zip"):
        write_midas_zip(path, stack)
    elif name.endswith(".zarr"):
        put(open_group(str(path)), "exchange/data", stack)
    elif name.endswith(".edf"):
        write_edf(path, stack)
    else:
        raise AssertionError(name)


STACKS = [
    "a.tif",
    "a.zlib.tif",
    "a.imagej.tif",
    "a.h5",
    "a.bitshuffle.h5",
    "a.blosc.h5",
    "a.ge",
    "a.ge3",
    "a.GE5",
    "a.npy",
    "a.MIDAS.zip",
    "a.zarr",
    "a.edf",
]


def shape_of(name: str) -> dict[str, tuple[int, int]]:
    return {"frame_shape": (ROWS, COLUMNS)} if ".ge" in name.lower() else {}
