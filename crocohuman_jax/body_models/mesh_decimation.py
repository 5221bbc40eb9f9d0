"""Simplifies a triangle mesh: merges vertices into neighbours, the least visible merge first."""

import heapq
import math

import numpy as np

BORDER = 100.0  # weight of the distance from the border, relative to that from the surface
SPREAD = 3e-3  # weight of a vertex's displacement, relative to its distance from the surface
STEEPEST = 0.2  # cosine of the largest angle by which one merge may turn a triangle


class Surface:
    """A mesh whose number of vertices can be reduced.

    It computes with Python's floats, without numpy's sums. Otherwise merges of nearly equal cost
    could come in another order on another machine, and a trained network relies on the order of
    its vertices.

    Args:
        vertices: [V, 3] float64.
        faces: [F, 3].
    """

    def __init__(self, vertices, faces):
        self.points = (vertices - vertices[faces[0, 0]]).tolist()
        self.faces = [tuple(face) for face in faces.tolist()]
        self.around: list[set[int]] = [set() for _ in self.points]  # faces of each vertex
        for number, face in enumerate(self.faces):
            for vertex in face:
                self.around[vertex].add(number)
        self.into = list(range(len(self.points)))
        self.count = len(self.points)
        self.loose = [v for v in range(self.count) if not self.around[v]]
        self._quadrics()
        self.turns = [0] * len(self.points)  # number of merges into each vertex
        self.refused: dict[int, set[int]] = {}
        self.heap: list[tuple] = []
        for vertex in range(len(self.points)):
            for other in self._neighbours(vertex):
                self._offer(vertex, other)

    def reduce(self, size: int) -> None:
        """Merges vertices until `size` of them are left.

        Raises:
            ValueError: no further merge is allowed.
        """
        while self.loose and self.count > size:
            self.into[self.loose.pop()] = self.faces[0][0]
            self.count -= 1
        while self.count > size:
            if not self.heap:
                raise ValueError(
                    f"The mesh of {len(self.points)} vertices cannot be reduced to {size}: "
                    f"{self.count} are needed to keep its pieces, holes and borders. Use more."
                )
            _, gone, stays, *turns = heapq.heappop(self.heap)
            if not self.around[gone] or not self.around[stays]:
                continue
            if turns != [self.turns[gone], self.turns[stays]]:
                continue
            if self._allowed(gone, stays):
                self._merge(gone, stays)
            else:
                self.refused.setdefault(gone, set()).add(stays)

    def state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the vertices left, the vertex into which each was merged, and the faces left."""
        into = np.array(self.into)
        while (into[into] != into).any():
            into = into[into]
        left = {number for around in self.around for number in around}
        return np.unique(into), into, np.array([self.faces[number] for number in sorted(left)])

    def _quadrics(self) -> None:
        """Sets each vertex's quadric: ten sums that describe the planes of its faces, and an area.

        The cost of a merge is computed from the quadrics of both vertices.
        """
        sides: dict[tuple[int, int], list[int]] = {}
        self.quadrics = [(0.0,) * 11 for _ in self.points]
        for number, (a, b, c) in enumerate(self.faces):
            for edge in ((a, b), (b, c), (c, a)):
                sides.setdefault((min(edge), max(edge)), []).append(number)
            normal, area = self._normal(a, b, c)
            for vertex in (a, b, c):
                self._remember(vertex, normal, self.points[a], area, area)
        self.border = [False] * len(self.points)
        for edge, numbers in sides.items():
            if len(numbers) > 1:
                continue
            a, b = (self.points[v] for v in edge)
            along = _minus(b, a)
            normal, _ = self._normal(*self.faces[numbers[0]])
            across, length = _unit(_cross(along, normal))
            for vertex in edge:
                self.border[vertex] = True
                self._remember(vertex, across, a, BORDER * length**2, 0.0)

    def _remember(self, vertex, normal, point, weight, area) -> None:
        x, y, z = normal
        d = -_dot(normal, point)
        more = (x * x, x * y, x * z, x * d, y * y, y * z, y * d, z * z, z * d, d * d)
        old = self.quadrics[vertex]
        sums = (o + weight * m for o, m in zip(old[:10], more, strict=True))
        self.quadrics[vertex] = (*sums, old[10] + area)

    def _normal(self, a, b, c):
        """Returns a triangle's unit normal and its area."""
        a, b, c = self.points[a], self.points[b], self.points[c]
        normal, twice = _unit(_cross(_minus(b, a), _minus(c, a)))
        return normal, twice / 2

    def _neighbours(self, vertex) -> list[int]:
        return sorted({v for number in self.around[vertex] for v in self.faces[number]} - {vertex})

    def _offer(self, gone, stays) -> None:
        """Adds a merge and its cost to the candidates."""
        xx, xy, xz, xd, yy, yz, yd, zz, zd, dd, area = (
            a + b for a, b in zip(self.quadrics[gone], self.quadrics[stays], strict=True)
        )
        x, y, z = self.points[stays]
        far = xx * x * x + yy * y * y + zz * z * z + dd
        far += 2 * (xy * x * y + xz * x * z + yz * y * z + xd * x + yd * y + zd * z)
        way = _minus(self.points[gone], self.points[stays])
        cost = max(far, 0.0) + SPREAD * area * _dot(way, way)
        entry = (cost, gone, stays, self.turns[gone], self.turns[stays])
        heapq.heappush(self.heap, entry)

    def _allowed(self, gone, stays) -> bool:
        """Returns whether a merge keeps a valid surface and its border, and turns no face over."""
        shared = self.around[gone] & self.around[stays]
        if self.border[gone] and not (self.border[stays] and len(shared) == 1):
            return False
        opposite = {v for number in shared for v in self.faces[number]} - {gone, stays}
        common = set(self._neighbours(gone)) & set(self._neighbours(stays))
        if common != opposite or any(self.around[v] <= shared for v in opposite):
            return False
        if self.around[gone] | self.around[stays] <= shared:  # no face would be left
            return False
        there = {frozenset(self.faces[number]) for number in self.around[stays]}
        for number in self.around[gone] - shared:
            before = self.faces[number]
            after = tuple(stays if v == gone else v for v in before)
            if frozenset(after) in there:
                return False
            (old, had), (new, has) = self._normal(*before), self._normal(*after)
            if not has or (had and _dot(old, new) < STEEPEST):
                return False
        return True

    def _merge(self, gone, stays) -> None:
        shared = self.around[gone] & self.around[stays]
        for number in shared:
            for vertex in self.faces[number]:
                self.around[vertex] = self.around[vertex] - {number}
        for number in self.around[gone]:
            self.faces[number] = tuple(stays if v == gone else v for v in self.faces[number])
        self.around[stays] = self.around[stays] | self.around[gone]
        self.around[gone] = set()
        self.into[gone] = stays
        self.count -= 1
        self.turns[stays] += 1
        pairs = zip(self.quadrics[gone], self.quadrics[stays], strict=True)
        self.quadrics[stays] = tuple(a + b for a, b in pairs)
        for vertex in self._neighbours(stays):
            self._offer(vertex, stays)
            self._offer(stays, vertex)
            # The faces have changed, so merges that were refused may be allowed now.
            for other in sorted(self.refused.pop(vertex, set()) - {gone, stays}):
                if self.around[other]:
                    self._offer(vertex, other)


def _minus(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _unit(a):
    """Returns the vector scaled to length one (zero stays zero) and its original length."""
    length = math.sqrt(_dot(a, a))
    return (a[0] / length, a[1] / length, a[2] / length) if length else (0.0, 0.0, 0.0), length
