"""Points of a plane: the area that they span, and the shortest tree that connects them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def area_of_hull(points: npt.NDArray[Any]) -> float:
    """The area of the convex hull of points `[N, 2]`; 0 where all lie on one line, or there are none."""
    if not len(points) or np.linalg.matrix_rank(points - points[0]) < 2:
        return 0.0
    from scipy.spatial import ConvexHull  # slow to import

    return float(ConvexHull(points).volume)  # of a plane figure, `area` is the circumference


def shortest_tree(points: npt.NDArray[Any]) -> float:
    """The length of the minimum spanning tree of points `[N, 2]` that do not lie on one line.

    Its edges are among those of the Delaunay triangulation.
    """
    from scipy.sparse import coo_matrix  # slow to import
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial import Delaunay

    corners = np.sort(Delaunay(points).simplices)
    edges = np.concatenate([corners[:, pair] for pair in ([0, 1], [1, 2], [0, 2])])
    first, second = np.unique(edges, axis=0).T
    length = np.linalg.norm(points[first] - points[second], axis=1)
    return float(minimum_spanning_tree(coo_matrix((length, (first, second)), (len(points), len(points)))).sum())
