"""Reads meshes with colours from GLB (glTF 2.0, binary) and OBJ files."""

import base64
import dataclasses
import io
import json
import pathlib
import struct

import numpy as np
import PIL.Image

from crocohuman_jax.configuration import files

TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
COUNTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
# glTF extensions that do not change the mesh; any other required extension is an error.
HARMLESS = ("KHR_materials_", "KHR_lights_punctual", "KHR_texture_transform")
LARGEST_IMAGE = 2048
PLAIN = 0.6  # linear grey value of surfaces without a colour


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A scene in metres, z up.

    Attributes:
        name: path of the file.
        vertices: [M, 3] float32; color: [M, 3] float32 linear; uv: [M, 2] float32, v downwards.
        faces: [F, 3] int32, counter-clockwise from outside.
        image: [F] int32, index into `images`, -1 for none.
        images: textures, each [h, w, 3] uint8 sRGB; they multiply the colours.
    """

    name: str
    vertices: np.ndarray
    color: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    image: np.ndarray
    images: tuple[np.ndarray, ...]


@dataclasses.dataclass
class _Piece:
    vertices: np.ndarray
    faces: np.ndarray
    color: np.ndarray
    uv: np.ndarray
    image: int


def load(path: str | pathlib.Path) -> Mesh:
    """Returns the scene in a GLB or OBJ file. Both are read with y up, as is the convention.

    Raises:
        ValueError: the file cannot be read; the text names the file and the reason.
    """
    path = pathlib.Path(path)
    reader = {".glb": _glb, ".obj": _obj}.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: scenes are read from .glb and .obj files only. Convert it.")
    try:
        pieces, images = reader(path)
    except (KeyError, IndexError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is broken: {type(error).__name__}: {error}.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not sum(len(piece.faces) for piece in pieces):
        raise ValueError(f"{path}: no triangle found; expected at least one.")
    start = np.cumsum([0] + [len(piece.vertices) for piece in pieces])
    vertices = np.concatenate([piece.vertices for piece in pieces])
    if not np.isfinite(vertices).all():
        raise ValueError(f"{path}: some vertex positions are NaN or infinite.")
    faces = [piece.faces + s for piece, s in zip(pieces, start, strict=False)]
    return Mesh(
        str(path),
        np.ascontiguousarray(vertices[:, [0, 2, 1]] * (1, -1, 1), np.float32),
        np.concatenate([piece.color for piece in pieces]).astype(np.float32),
        np.concatenate([piece.uv for piece in pieces]).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([np.full(len(p.faces), p.image, np.int32) for p in pieces]),
        tuple(images),
    )


class _Glb:
    """The JSON and binary chunks of a GLB file, and access to the binary data."""

    def __init__(self, path):
        data = path.read_bytes()
        if data[:4] != b"glTF":
            raise ValueError("not a GLB file: it does not begin with 'glTF'.")
        version = struct.unpack_from("<I", data, 4)[0]
        if version != 2:
            raise ValueError(f"it is glTF version {version}; expected version 2.")
        self.binary, at = b"", 12
        while at + 8 <= len(data):
            length, kind = struct.unpack_from("<I4s", data, at)
            chunk = data[at + 8 : at + 8 + length]
            if len(chunk) < length:
                raise ValueError(
                    f"the file ends too early: a chunk has {len(chunk)} of its {length} bytes."
                )
            if kind == b"JSON":
                self.tree = json.loads(chunk)
            elif kind == b"BIN\0":
                self.binary = chunk
            at += 8 + length
        self.folder = path.parent
        required = self.tree.get("extensionsRequired", [])
        unknown = [name for name in required if not name.startswith(HARMLESS)]
        if unknown:
            raise ValueError(
                f"it requires {', '.join(unknown)}, which is not supported. Export it without that."
            )

    def view(self, number) -> tuple[bytes, int]:
        """Returns the bytes of a buffer view, and its stride in bytes, 0 if not given."""
        view = self.tree["bufferViews"][number]
        buffer = self.tree["buffers"][view["buffer"]]
        data = self.uri(buffer["uri"]) if "uri" in buffer else self.binary
        start = view.get("byteOffset", 0)
        return data[start : start + view["byteLength"]], view.get("byteStride", 0)

    def uri(self, uri) -> bytes:
        if uri.startswith("data:"):
            return base64.b64decode(uri.split(",", 1)[1])
        return files.within(self.folder, uri).read_bytes()

    def array(self, number) -> np.ndarray:
        """Returns an accessor's values, [count, n]; normalized integers become fractions."""
        accessor = self.tree["accessors"][number]
        if "sparse" in accessor:
            raise ValueError(
                "it has sparse accessors, which are not supported. Export it without them."
            )
        kind, width = np.dtype(TYPES[accessor["componentType"]]), COUNTS[accessor["type"]]
        count, size = accessor["count"], kind.itemsize * COUNTS[accessor["type"]]
        if "bufferView" not in accessor:
            return np.zeros((count, width), kind)
        data, stride = self.view(accessor["bufferView"])
        offset, stride = accessor.get("byteOffset", 0), stride or size
        if count and offset + stride * (count - 1) + size > len(data):
            raise ValueError(f"the file ends too early: accessor {number} exceeds its data.")
        values = np.ndarray((count, width), kind, data, offset, (stride, kind.itemsize))
        if accessor.get("normalized"):
            return values / np.float32(np.iinfo(kind).max)
        return values.copy()


def _glb(path):
    glb = _Glb(path)
    images: list[np.ndarray] = []
    known: dict[int, int] = {}
    pieces = []
    tree = glb.tree
    scenes = tree.get("scenes")
    roots = scenes[tree.get("scene", 0)].get("nodes", []) if scenes else None
    nodes = tree.get("nodes", [])
    if roots is None:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [number for number in range(len(nodes)) if number not in children]
    waiting = [(number, np.eye(4), 0) for number in reversed(roots)]
    while waiting:
        number, parent, depth = waiting.pop()
        if depth > 200:
            raise ValueError("its nodes are nested more than 200 deep, probably in a circle.")
        node = nodes[number]
        matrix = parent @ _matrix(node)
        waiting += [(child, matrix, depth + 1) for child in reversed(node.get("children", []))]
        if "mesh" in node:
            for primitive in tree["meshes"][node["mesh"]]["primitives"]:
                if "POSITION" in primitive["attributes"]:
                    pieces.append(_primitive(glb, primitive, matrix, images, known))
    return pieces, images


def _matrix(node):
    """Returns a node's transformation matrix, [4, 4]."""
    if "matrix" in node:
        return np.array(node["matrix"], float).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    out = np.eye(4)
    out[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    out[:3, :3] *= node.get("scale", (1, 1, 1))
    out[:3, 3] = node.get("translation", (0, 0, 0))
    return out


def _primitive(glb, primitive, matrix, images, known) -> _Piece:
    attributes = primitive["attributes"]
    vertices = glb.array(attributes["POSITION"]).astype(float) @ matrix[:3, :3].T + matrix[:3, 3]
    count = len(vertices)
    if "indices" in primitive:
        index = glb.array(primitive["indices"])[:, 0].astype(np.int64)
    else:
        index = np.arange(count)
    faces = _triangles(index, primitive.get("mode", 4))
    if len(faces) and faces.max() >= count:
        raise ValueError(f"a face refers to vertex {faces.max()}, but there are {count}.")
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    material = {}
    if "material" in primitive:
        material = glb.tree["materials"][primitive["material"]]
    look = material.get("pbrMetallicRoughness", {})
    plain = (1, 1, 1, 1) if "baseColorTexture" in look or "COLOR_0" in attributes else (PLAIN,) * 4
    color = np.tile(np.array(look.get("baseColorFactor", plain), float)[:3], (count, 1))
    if "COLOR_0" in attributes:
        color = color * glb.array(attributes["COLOR_0"])[:, :3]
    uv, image = np.zeros((count, 2)), -1
    if "baseColorTexture" in look:
        texture = look["baseColorTexture"]
        channel = f"TEXCOORD_{texture.get('texCoord', 0)}"
        if channel in attributes:
            uv = glb.array(attributes[channel]).astype(float)
            source = glb.tree["textures"][texture["index"]]["source"]
            if source not in known:
                known[source] = len(images)
                images.append(_image(glb, source))
            image = known[source]
    return _Piece(vertices, faces, color, uv, image)


def _triangles(index, mode):
    if mode == 4:
        return index[: len(index) // 3 * 3].reshape(-1, 3)
    if mode == 5:
        strip = np.stack([index[:-2], index[1:-1], index[2:]], 1)
        strip[1::2] = strip[1::2, [1, 0, 2]]
        return strip
    if mode == 6:
        return np.stack([np.full(len(index) - 2, index[0]), index[1:-1], index[2:]], 1)
    return np.zeros((0, 3), np.int64)  # points and lines have no surface


def _image(glb, number):
    image = glb.tree["images"][number]
    data = glb.view(image["bufferView"])[0] if "bufferView" in image else glb.uri(image["uri"])
    return _picture(io.BytesIO(data), f"image {number}")


def _picture(file, name) -> np.ndarray:
    try:
        with PIL.Image.open(file) as opened:
            picture = opened.convert("RGB")
    except Exception as error:  # Pillow raises many kinds of errors on broken files
        raise ValueError(f"{name} is not a readable picture: {error}.") from error
    picture.thumbnail((LARGEST_IMAGE, LARGEST_IMAGE))
    return np.asarray(picture)


def _obj(path):
    points, colors, uvs, corners, uses = [], [], [], [], []
    materials: dict[str, tuple[np.ndarray, pathlib.Path | None]] = {}
    material = ""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        try:
            if not words:
                continue
            if words[0] == "v":
                points.append([float(word) for word in words[1:4]])
                colors.append([float(w) for w in words[4:7]] if len(words) >= 7 else None)
            elif words[0] == "vt":
                uvs.append([float(word) for word in words[1:3]])
            elif words[0] == "f":
                face = [_corner(word, len(points), len(uvs)) for word in words[1:]]
                for k in range(1, len(face) - 1):
                    corners.append((face[0], face[k], face[k + 1]))
                    uses.append(material)
            elif words[0] == "usemtl":
                material = " ".join(words[1:])
            elif words[0] == "mtllib":
                materials |= _mtl(files.within(path.parent, line.split(None, 1)[1].strip()))
        except (ValueError, IndexError) as error:
            raise ValueError(f"line {number}, {line.strip()!r}: {error}.") from error
    return _obj_pieces(points, colors, uvs, corners, uses, materials)


def _corner(word, points, uvs):
    """Returns the indices of a corner's vertex and texture coordinate (or -1), from "7/3/2"."""
    numbers = [int(part) if part else 0 for part in word.split("/")]
    at = numbers[0] - 1 if numbers[0] > 0 else points + numbers[0]
    if not 0 <= at < points or numbers[0] == 0:
        raise ValueError(f"no vertex {numbers[0]}; {points} are defined above this line")
    if len(numbers) < 2 or numbers[1] == 0:
        return at, -1
    texture = numbers[1] - 1 if numbers[1] > 0 else uvs + numbers[1]
    if not 0 <= texture < uvs:
        raise ValueError(f"no texture coordinate {numbers[1]}; {uvs} are defined above this line")
    return at, texture


def _mtl(path):
    """Returns {name: (colour [3] linear, picture or None)} of an MTL file."""
    if not path.is_file():
        raise ValueError(f"{path.name} is missing; expected it beside the OBJ file")
    materials, name = {}, ""
    for line in path.read_text(errors="replace").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "newmtl":
            name = " ".join(words[1:])
            materials[name] = (np.full(3, PLAIN), None)
        elif words[0] == "Kd":
            materials[name] = (np.array([float(w) for w in words[1:4]]) ** 2.2, materials[name][1])
        elif words[0] == "map_Kd":
            file = files.within(path.parent, words[-1].replace("\\", "/"))
            materials[name] = (np.ones(3), file)
    return materials


def _obj_pieces(points, colors, uvs, corners, uses, materials):
    if not corners:
        return [], []
    points, corners = np.array(points, float), np.array(corners)  # [n, 3], [F, 3, 2]
    uvs = np.array([*uvs, [0, 0]], float)  # the last row is for corners without any
    tint = np.array([(1, 1, 1) if c is None else c for c in colors], float)
    painted = any(c is not None for c in colors)
    uses, pieces, images = np.array(uses), [], []
    for name in dict.fromkeys(uses):
        some = corners[uses == name].reshape(-1, 2)
        pairs, faces = np.unique(some, axis=0, return_inverse=True)
        color, file = materials.get(name, (np.ones(3) if painted else np.full(3, PLAIN), None))
        image = -1
        if file is not None:
            image = len(images)
            images.append(_picture(file, file.name))
        uv = uvs[pairs[:, 1]] * (1, -1) + (0, 1)  # v points up in OBJ files
        look = tint[pairs[:, 0]] ** (2.2 if painted else 1) * color
        pieces.append(_Piece(points[pairs[:, 0]], faces.reshape(-1, 3), look, uv, image))
    return pieces, images
