"""Arrays of one shape, one for each combination of names such as masker, activation and method; and their files.

AttriBench's file is an HDF5 file with nested groups, or nested folders of CSV files. Both carry attributes, of which
`type` names the class of the result.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from .._core.checks import check_choice
from .._core.printing import printable
from ..evaluation.checksums import check_seal, check_self_contained, inside, seal
from ..evaluation.files import check_writable, written_aside
from ._files import opened

METADATA = "metadata.yaml"
Array = npt.NDArray[Any]
Leaves = dict[tuple[str, ...], Array]


class NDArrayTree:
    """AttriBench's tree of results: `levels` maps a level's name to the names on it.

    Levels are in alphabetical order, and the arrays NaN until they are written.
    """

    def __init__(self, levels: Mapping[str, Sequence[str]], shape: Sequence[int]):
        self.levels = {name: list(levels[name]) for name in sorted(levels)}
        self.shape = list(shape)
        self.leaves: Leaves = {key: np.full(self.shape, np.nan) for key in self.combinations()}

    @property
    def level_names(self) -> list[str]:
        return list(self.levels)

    def combinations(self) -> list[tuple[str, ...]]:
        return list(itertools.product(*self.levels.values()))

    def get(self, **level_keys: str) -> Array:
        """One array, by a name for each level."""
        if set(level_keys) != set(self.levels):
            given = ", ".join(level_keys) or "none"
            raise ValueError(printable(f"Give a name for each of {', '.join(self.levels)}; got {given}."))
        for level, name in level_keys.items():
            check_choice(level, name, self.levels[level])
        return self.leaves[tuple(level_keys[level] for level in self.levels)]

    def write(self, indices: Any, data: Any, **level_keys: str) -> None:
        """Puts rows into one array."""
        self.get(**level_keys)[indices] = data

    def merge(self, other: NDArrayTree, level: str) -> None:
        """Takes over the other's arrays; only `level` may have other names there."""
        self.levels[level] = list(dict.fromkeys(self.levels[level] + other.levels[level]))
        self.leaves |= {key: leaf.copy() for key, leaf in other.leaves.items()}


def save_tree(tree: NDArrayTree, attributes: Mapping[str, str], path: Any, format: str) -> None:
    check_choice("format", format, WRITERS)
    _check_names(tree.levels)
    with written_aside(check_writable(path), room=sum(leaf.nbytes for leaf in tree.leaves.values())) as aside:
        WRITERS[format](tree, attributes, aside)
        if aside.is_file():  # AttriBench's folders have no room for a list of checksums
            seal(aside)


def load_tree(path: Any) -> tuple[NDArrayTree, dict[str, str]]:
    """The tree and its attributes; what is not such a file, or damaged, is a `ValueError`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` {path} does not exist.")
    try:
        check_seal(path)
        return _read_csv(path) if path.is_dir() else _read_hdf5(path)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"`path` {path} is not a result of AttriBench's, or it is damaged: {error}") from error


def _write_hdf5(tree: NDArrayTree, attributes: Mapping[str, str], path: Path) -> None:
    with h5py.File(path, "x", track_order=True) as file:
        file.attrs.update(attributes)
        for names, leaf in tree.leaves.items():
            group: h5py.Group = file
            for level, name in zip(tree.level_names, names[:-1]):
                group.attrs["level_name"] = level
                # The groups are read in the order in which they were made.
                group = group[name] if name in group else group.create_group(name, track_order=True)
            group.attrs["level_name"] = tree.level_names[-1]
            group.create_dataset(names[-1], data=leaf, fletcher32=leaf.size > 0 and leaf.ndim > 0)


def _read_hdf5(path: Path) -> tuple[NDArrayTree, dict[str, str]]:
    with opened(path) as file:
        check_self_contained(file)
        level_names, leaves = _leaves(file)
        attributes = {str(k): str(v) for k, v in file.attrs.items() if k != "level_name"}
    levels = {level: list(dict.fromkeys(key[i] for key in leaves)) for i, level in enumerate(level_names)}
    return _filled(levels, next(iter(leaves.values())).shape, leaves), attributes


def _leaves(group: h5py.Group) -> tuple[list[str], Leaves]:
    """The names of the levels from here on, and the arrays below."""
    below: list[str] = []
    leaves: Leaves = {}
    for name, node in group.items():
        if isinstance(node, h5py.Dataset):
            leaves[(name,)] = node[()]
        else:
            below, inner = _leaves(node)
            leaves |= {(name, *key): leaf for key, leaf in inner.items()}
    if not leaves:
        raise ValueError(f"{group.name} is empty")
    return [str(group.attrs["level_name"]), *below], leaves


def _write_csv(tree: NDArrayTree, attributes: Mapping[str, str], path: Path) -> None:
    path.mkdir()
    metadata = {**attributes, "level_names": tree.level_names, "levels": tree.levels, "shape": tree.shape}
    (path / METADATA).write_text(_yaml().safe_dump(metadata))
    for names, leaf in tree.leaves.items():
        file = _csv_file(path, names)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(file, leaf)


def _read_csv(path: Path) -> tuple[NDArrayTree, dict[str, str]]:
    yaml = _yaml()
    try:
        metadata = dict(yaml.safe_load(inside(path, METADATA).read_text()))
    except yaml.YAMLError as error:
        raise ValueError(f"{METADATA}: {error}") from error
    levels, shape = metadata.pop("levels"), metadata.pop("shape")
    _check_names(levels)
    leaves = {
        names: np.loadtxt(inside(path, str(_csv_file(path, names)))).reshape(shape)
        for names in NDArrayTree(levels, []).combinations()
    }
    return _filled(levels, shape, leaves), {k: str(v) for k, v in metadata.items() if k != "level_names"}


def _csv_file(folder: Path, names: tuple[str, ...]) -> Path:
    return folder.joinpath(*names[:-1], f"{names[-1]}.csv")


def _filled(levels: Mapping[str, list[str]], shape: Any, leaves: Leaves) -> NDArrayTree:
    tree = NDArrayTree(levels, shape)
    if set(leaves) != set(tree.leaves):
        raise ValueError("some combinations of names have no array")
    for key, leaf in leaves.items():
        if leaf.shape != tuple(shape):
            raise ValueError(f"{'/'.join(key)!r} has shape {leaf.shape}, others have {tuple(shape)}")
        tree.leaves[key][...] = leaf
    return tree


def _check_names(levels: Mapping[str, Any]) -> None:
    """Names become names of files and groups."""
    for level, names in levels.items():
        for name in names:
            if not isinstance(name, str) or "/" in name or "\\" in name or name in ("", ".", ".."):
                raise ValueError(f"`{level}` {name!r} cannot be the name of a file; choose one without slashes.")


def _yaml() -> Any:
    try:
        return importlib.import_module("yaml")
    except ImportError as error:
        raise ImportError('The format "csv" needs PyYAML: pip install pyyaml.') from error


WRITERS = {"hdf5": _write_hdf5, "csv": _write_csv}
