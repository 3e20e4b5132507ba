"""The forms in which results are kept. Adding one is a function that saves, one that loads, and a line in `FORMATS`."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from .checksums import check_seal, check_self_contained, inside, seal
from .files import check_writable, escaped, unescaped, written_aside
from .kept_maps import Kept, as_bytes, from_bytes

METADATA = "metadata.json"  # of a folder of CSV files
MAPS = "captum_ext_maps"  # the group, or the file, with the maps of some examples
ROWS = 2**16  # are turned into text at a time
CHECKED = {"fletcher32": True}  # HDF5's own checksum, which every reader checks


@dataclass(frozen=True)
class Format:
    """`recognises` says of a path whether it looks like one; `save` writes whole or not at all."""

    recognises: Callable[[Path], bool]
    save: Callable[[xr.Dataset, Path, Kept | None], None]
    load: Callable[[Path], tuple[xr.Dataset, Kept | None]]


def load_any(path: Path) -> tuple[xr.Dataset, Kept | None]:
    """The results at a path and the maps beside them, in any of the formats, if they are as they were saved."""
    check_seal(path)
    return format_of(path).load(path)


def check_replaceable(path: str | os.PathLike[str], overwrite: bool) -> Path:
    """The absolute path, at which nothing is, or with `overwrite` a file, or a folder of results."""
    target = check_writable(path, overwrite)
    if target.is_dir() and not any(known.recognises(target) for known in FORMATS.values()):
        raise FileExistsError(f"`path` {target} is a folder that holds something else; choose another `path`.")
    return target


def format_of(path: Path) -> Format:
    """The format of the results at a path."""
    for known in FORMATS.values():
        if known.recognises(path):
            return known
    raise ValueError("it is neither a file nor a folder that `Evaluation.save` writes")


def save_hdf5(dataset: xr.Dataset, path: Path, kept: Kept | None = None) -> None:
    stored = _renamed(dataset, escaped)
    for variable in stored.data_vars.values():  # netCDF has no booleans
        variable.attrs = {k: int(v) if isinstance(v, bool) else v for k, v in variable.attrs.items()}
    maps = b"" if kept is None else as_bytes(kept)
    with written_aside(path, room=stored.nbytes + len(str(stored.attrs)) + len(maps)) as aside:
        stored.to_netcdf(
            aside, engine="h5netcdf", encoding={v: CHECKED for v in stored.variables if _is_array(stored[v])}
        )
        if maps:
            with h5py.File(aside, "a") as file:  # in a group of its own, of which netCDF's readers take no notice
                file.create_group(MAPS).create_dataset("npz", data=np.frombuffer(maps, np.uint8), fletcher32=True)
        seal(aside)


def _is_array(variable: xr.DataArray) -> bool:
    return variable.size > 0 and variable.ndim > 0 and variable.dtype.kind in "biuf"


def load_hdf5(path: Path) -> tuple[xr.Dataset, Kept | None]:
    with h5py.File(path) as file:
        check_self_contained(file)
        kept = from_bytes(file[MAPS]["npz"][()].tobytes()) if MAPS in file else None
    return _as_saved(xr.load_dataset(path, engine="h5netcdf")), kept


def _as_saved(dataset: xr.Dataset) -> xr.Dataset:
    """With Python's numbers, truth values and names, which files store as their own."""
    dataset.attrs = {k: _plain(v) for k, v in dataset.attrs.items()}
    for name, variable in dataset.variables.items():
        attributes = {k: _plain(v) for k, v in variable.attrs.items()}
        variable.attrs = {k: bool(v) if k == "higher_is_better" else v for k, v in attributes.items()}
        variable.encoding = {}
        if variable.dtype == object:
            dataset = dataset.assign_coords({name: dataset[name].astype(str)})
    return _renamed(dataset, unescaped)


def _renamed(dataset: xr.Dataset, new_name: Callable[[str], str]) -> xr.Dataset:
    names = {n: new_name(str(n)) for n in {*dataset.variables, *dataset.dims}}
    return dataset.rename({old: new for old, new in names.items() if old != new}).copy()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _save_maps(kept: Kept | None, folder: Path) -> None:
    if kept is not None:
        (folder / f"{MAPS}.npz").write_bytes(as_bytes(kept))


def _load_maps(folder: Path) -> Kept | None:
    there = (folder / f"{MAPS}.npz").exists()
    return from_bytes(inside(folder, f"{MAPS}.npz").read_bytes()) if there else None


def save_csv(dataset: xr.Dataset, path: Path, kept: Kept | None = None) -> None:
    """Writes a file per metric with a row per score, and `metadata.json` with the rest."""
    variables = list(dataset.variables)
    about = {
        "attrs": dataset.attrs,
        "coords": {
            str(c): {
                "dims": dataset[c].dims,
                "values": dataset[c].to_numpy().tolist(),
                "dtype": str(dataset[c].dtype),
            }
            for c in dataset.coords
        },
        "variables": {
            str(v): {
                "dims": dataset[v].dims,
                "dtype": str(dataset[v].dtype),
                "attrs": dataset[v].attrs,
                "file": f"{variables.index(v)}.csv",
            }
            for v in dataset.data_vars
        },
    }
    with written_aside(path) as aside:
        aside.mkdir()
        (aside / METADATA).write_text(json.dumps(about, indent=1))
        for v, entry in about["variables"].items():
            _write_rows(dataset[v], aside / entry["file"])
        _save_maps(kept, aside)
        seal(aside)


def _write_rows(scores: xr.DataArray, file: Path) -> None:
    """A line for every score, as pandas writes it but much faster: each label is made into a field once."""
    labels = itertools.product(*(_fields(scores.get_index(d).tolist()) for d in scores.dims))
    with open(file, "w", encoding="utf-8", newline="") as lines:
        lines.write(",".join(_fields([*scores.dims, "score"])) + "\n")
        for part in np.array_split(scores.to_numpy().ravel(), scores.size // ROWS + 1):
            written = _texts(part.tolist())
            lines.writelines(f"{','.join(row)},{score}\n" for score, row in zip(written, labels))


def _fields(labels: list[Any]) -> list[str]:
    """The labels as fields of a line, in quotes where they need them."""
    lines = io.StringIO()
    writer, ends = csv.writer(lines, lineterminator="\n"), [0]
    for label in _texts(labels):
        writer.writerow((label, ""))  # a lone empty field would be put in quotes
        ends.append(lines.tell())
    whole = lines.getvalue()
    return [whole[start : end - 2] for start, end in itertools.pairwise(ends)]


def _texts(values: list[Any]) -> list[str]:
    """Floats with all their digits."""
    return [format(v, ".17g") if isinstance(v, float) else str(v) for v in values]


def load_csv(path: Path) -> tuple[xr.Dataset, Kept | None]:
    about = json.loads(inside(path, METADATA).read_text())
    coords = {c: (e.get("dims", [c]), np.array(e["values"], e["dtype"])) for c, e in about["coords"].items()}
    dataset = xr.Dataset(coords=coords, attrs=about["attrs"])
    for name, entry in about["variables"].items():
        scores = np.array(_last_column(inside(path, entry["file"])), entry["dtype"])
        # dimensions without coordinates (the halves) have what length is left
        shape = [dataset.sizes.get(d, -1) for d in entry["dims"]]
        dataset[name] = entry["dims"], scores.reshape(shape), entry["attrs"]
    return dataset, _load_maps(path)


def _last_column(path: Path) -> list[float]:
    """The scores as Python reads them, which gives back the same floats that were written."""
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [float(row[-1]) for row in rows]


def save_zarr(dataset: xr.Dataset, path: Path, kept: Kept | None = None) -> None:
    _check_zarr()
    with written_aside(path) as aside, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The data type .* does not have a Zarr V3 specification")
        stored = _renamed(dataset, lambda name: escaped(name).replace("\\", "%5C"))  # Zarr takes it for a slash
        stored.assign_attrs(order=json.dumps(list(stored.data_vars))).to_zarr(aside, zarr_format=2, consolidated=True)
        _save_maps(kept, aside)
        seal(aside)


def load_zarr(path: Path) -> tuple[xr.Dataset, Kept | None]:
    _check_zarr()
    stored = xr.open_zarr(path, chunks=None).load()  # which has variables in the order of the alphabet
    return _as_saved(stored[json.loads(stored.attrs.pop("order"))]), _load_maps(
        path
    )  # Zarr has them in the order of the alphabet


def _check_zarr() -> None:
    try:
        import zarr as zarr
    except ImportError as error:
        raise ImportError("`format='zarr'` needs zarr. Install it with: pip install \"captum-ext[zarr]\"") from error


FORMATS = {
    "hdf5": Format(Path.is_file, save_hdf5, load_hdf5),
    "csv": Format(lambda path: (path / METADATA).is_file(), save_csv, load_csv),
    "zarr": Format(lambda path: (path / ".zgroup").is_file(), save_zarr, load_zarr),
}
