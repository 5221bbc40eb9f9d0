"""Writes meshes to files for other programs: Wavefront `.obj` and glTF `.glb`.

Input meshes are in camera axes (x right, y down, z forward). Files are in glTF's axes (x right, y
up, z towards the viewer), which differ by half a turn about x. Units are metres.
"""

import pathlib

import numpy as np
import trimesh

from crocohuman_jax.configuration import files

SUFFIXES = (".glb", ".obj")
TURN = np.array([1.0, -1.0, -1.0])  # factors from camera axes to the file's axes, and back


def write(
    path: str | pathlib.Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    colors: np.ndarray | None = None,
) -> pathlib.Path:
    """Writes a mesh atomically and replaces an existing file.

    Args:
        path: the suffix decides the format.
        vertices: [V, 3] in camera axes, metres; the file keeps their order.
        faces: [F, 3] int, counter-clockwise from outside, as in the file.
        colors: [V, 3] uint8, sRGB of each vertex.

    Returns:
        The path.

    Raises:
        ValueError: the suffix is unknown, an array has another shape, a vertex is not finite, or a
            face has a vertex index out of range.
        FileNotFoundError: the folder does not exist.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{path} has the suffix {path.suffix!r}; meshes are written as {', '.join(SUFFIXES)}."
        )
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces)
    _check(path, vertices, faces, colors)
    vertices = vertices * TURN
    data = _obj(vertices, faces, colors) if suffix == ".obj" else _glb(vertices, faces, colors)
    with files.whole(path) as temporary:
        temporary.write_bytes(data)
    return path


def _check(path, vertices, faces, colors):
    """Raises the errors of `write` about its arrays."""
    for name, array in (("vertices", vertices), ("faces", faces)):
        if array.ndim != 2 or array.shape[1] != 3 or not len(array):
            raise ValueError(f"{path}: {name} are {array.shape}; [N, 3] is expected, N at least 1.")
    wrong = np.flatnonzero(~np.isfinite(vertices).all(1))
    if len(wrong):
        raise ValueError(
            f"{path}: {len(wrong)} of {len(vertices)} vertices are not finite, the first is vertex "
            f"{wrong[0]} at {vertices[wrong[0]]}: check the prediction."
        )
    if faces.dtype.kind not in "iu":
        raise ValueError(f"{path}: faces are {faces.dtype}; integers are expected.")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(
            f"{path}: faces name vertices {faces.min()} to {faces.max()}, but there are "
            f"{len(vertices)}: pass the faces of this mesh."
        )
    if colors is not None and (colors.shape != vertices.shape or colors.dtype != np.uint8):
        raise ValueError(
            f"{path}: colors are {colors.dtype} {colors.shape}; uint8 {vertices.shape} is expected."
        )


def _obj(vertices, faces, colors) -> bytes:
    """Returns an OBJ file; colours follow the coordinates, which MeshLab and Blender understand."""
    lines = ["# metres; x to the right, y up, z towards the viewer"]
    if colors is None:
        lines += ["v {:.7f} {:.7f} {:.7f}".format(*v) for v in vertices.tolist()]
    else:
        known = np.concatenate([vertices, colors / 255], 1).tolist()
        lines += ["v {:.7f} {:.7f} {:.7f} {:.4f} {:.4f} {:.4f}".format(*v) for v in known]
    lines += ["f {} {} {}".format(*f) for f in (faces.astype(np.int64) + 1).tolist()]
    return "\n".join([*lines, ""]).encode()


def _glb(vertices, faces, colors) -> bytes:
    """Returns a binary glTF: smooth, matt, double-sided, with vertex colours in linear RGB."""
    matt = trimesh.visual.material.PBRMaterial(
        baseColorFactor=(1.0, 1.0, 1.0, 1.0) if colors is not None else (0.4, 0.45, 0.6, 1.0),
        metallicFactor=0.0,
        roughnessFactor=0.8,
        doubleSided=True,
    )
    mesh = trimesh.Trimesh(
        vertices, faces, visual=trimesh.visual.TextureVisuals(material=matt), process=False
    )
    if colors is not None:
        opaque = np.full((len(colors), 1), 255, np.uint8)
        mesh.visual.vertex_attributes["color"] = np.concatenate([_linear(colors), opaque], 1)
    return trimesh.exchange.gltf.export_glb(trimesh.Scene(mesh), include_normals=True)


def _linear(colors):
    """Returns sRGB colours [V, 3] uint8 as linear RGB, [V, 3] uint8."""
    value = colors / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.round(255 * light).astype(np.uint8)
