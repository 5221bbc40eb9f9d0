"""Reads the pose, shape and camera of people in frames, in one form for every kind of dataset.

"Notes" are all values known of a folder's frames: exact ground truth, or the labels of a dataset.
"""

import abc
import functools
import logging

import numpy as np

from crocohuman_jax.body_models import form as form_lib
from crocohuman_jax.data.storage import label_fields, labels, records, synthetic_truth
from crocohuman_jax.data.streams import person_augmentation
from crocohuman_jax.synthetic.graphics import rotations

log = logging.getLogger(__name__)


class Notes(abc.ABC):
    """Ground truth or labels of a folder's frames."""

    @abc.abstractmethod
    def wanted(self, frames: records.Frames) -> np.ndarray:
        """Returns [N] bool: whether each frame shows what the model represents, body or hand."""

    @abc.abstractmethod
    def read(self, row: int) -> dict:
        """Returns the known values of a frame, in the frame's pixels and the camera's axes.

        Returns:
            crop [3]; mirrored, whether it shows a left hand and the model is a right one; keypoints
            [L, 3] and joints [L, 4] with confidences; pose [K, 3]; betas [S]; place [3], of the
            root; intrinsics [4]; has_pose; has_shape, whether the betas belong to the run's model;
            has_mesh, whether a loaded model can make a mesh of pose and betas; exact, whether pose,
            shape, place and camera are all known; gender; vertices [V, 3], None if there are none
            or they are not asked for.
        """


class Known(Notes):
    """The exact truth of built-in people, as parameters of the open body or hand."""

    def __init__(self, frames: records.Frames, form: form_lib.Form):
        self.truths, self.form = synthetic_truth.Truths(frames.folder), form
        self.kind = "hand" if form.is_hand else "body"
        if form.kind not in ("open_body", "open_hand_right"):
            raise ValueError(
                f"{frames.folder} shows built-in people, whose pose and shape are parameters of "
                f"the open models, not of {form.kind!r}: set config.body.model to open_body or "
                "open_hand_right."
            )

    def wanted(self, frames: records.Frames) -> np.ndarray:
        kinds = [name.rpartition("/")[2] == self.kind for name in frames.index["sequence"]]
        return np.array(kinds, bool)

    def read(self, row: int) -> dict:
        form, found = self.form, self.truths.read(row)
        height, width = self.truths.size
        betas = found["model_shape"][: form.betas]
        turn, move = found["rotation"].astype(np.float64), found["translation"]
        pose = found["model_pose"].astype(np.float64)
        mirrored = found["side"] == "L" and form.is_hand
        pose[0] = rotations.to_vector(turn @ rotations.from_vector(pose[0]))
        # A pose rotates about the root joint, so the root joint is moved to the camera's axes.
        root = form.root + betas @ form.root_shapes
        if mirrored:
            root = root * np.array([-1, 1, 1])
        place = turn @ (root + found["model_translation"]) + move
        return {
            "crop": np.array([width / 2, height / 2, max(height, width)]),
            "mirrored": mirrored,
            "keypoints": np.zeros((len(form.names), 3), np.float32),
            "joints": np.zeros((len(form.names), 4), np.float32),
            "pose": pose,
            "betas": betas,
            "place": place,
            "intrinsics": found["intrinsics"],
            "has_pose": True,
            "has_shape": True,
            "has_mesh": True,
            "exact": True,
            "gender": 0,
            "vertices": None,
        }


class Labelled(Notes):
    """The labels of a dataset."""

    def __init__(self, frames: records.Frames, form: form_lib.Form):
        self.labels, self.form = labels.Labels(frames.folder), form
        names = self.labels.names
        # For each point of the model its position among the dataset's keypoints, or -1.
        self.at = [self._position(name, names) for name in form.names]
        hand = "wrist" in names and "pelvis" not in names and "left_hip_lsp" not in names
        if hand != form.is_hand:
            shown = "hands" if hand else "bodies"
            raise ValueError(
                f"{frames.folder} has labels of {shown}, but config.body.model is {form.kind!r}. "
                f"Set it to a model of {shown}."
            )
        if form.is_hand and not form.kind.endswith("right"):
            raise ValueError(
                f"config.body.model is {form.kind!r}, but all hands are trained as right hands, "
                "and left hands are mirrored. Set it to the model of the right hand."
            )

    def _position(self, name: str, names: tuple[str, ...]) -> int:
        others = [other for other, mine in self.form.aliases.items() if mine == name]
        return next((names.index(n) for n in (name, *others) if n in names), -1)

    def wanted(self, frames: records.Frames) -> np.ndarray:
        return np.ones(len(frames), bool)

    def read(self, row: int) -> dict:
        form, found = self.form, self.labels.read(row)
        mirrored = form.is_hand and found["model"] == f"{form.kind.removesuffix('right')}left"
        gender = found["gender"] or "neutral"
        mine = found["model"] == form.kind or mirrored
        has_pose = mine and len(found["pose"]) == form.joints
        pose = np.zeros((form.joints, 3))
        if has_pose:
            flat = form.mean_pose * (np.array([1, -1, -1]) if mirrored else 1)
            pose = found["pose"].astype(np.float64) + flat
        betas = np.zeros(form.betas, np.float32)
        given = found["betas"][: form.betas]
        betas[: len(given)] = given
        shaped, vertices = has_pose and len(given) > 0, found["vertices"]
        if shaped and gender not in form.genders:
            _warn_of_gender(self.labels.folder.parent, form.gender, form.genders)
        return {
            "crop": found["crop"],
            "mirrored": mirrored,
            "keypoints": self._arranged(found["keypoints"], 3),
            "joints": self._arranged(found["joints"], 4),
            "pose": pose,
            "betas": betas,
            "place": np.zeros(3),
            "intrinsics": found["intrinsics"],
            "has_pose": has_pose,
            "has_shape": shaped and (form.own or gender == form.gender),
            "has_mesh": shaped and gender in form.genders,
            "exact": False,
            "gender": form_lib.GENDERS.index(gender),
            "vertices": vertices if len(vertices) == form.vertices else None,
        }

    def _arranged(self, rows: np.ndarray, columns: int) -> np.ndarray:
        """Returns rows in the order of the model's points, zeros for points without a row."""
        if not len(rows):
            return np.zeros((len(self.at), columns), np.float32)
        found = rows[self.at]
        found[np.array(self.at) < 0] = 0
        return found


@functools.cache  # warns once per folder, even if the folder is opened several times
def _warn_of_gender(folder, mine: str, genders: tuple[str, ...]) -> None:
    missing = [gender for gender in form_lib.GENDERS if gender not in genders]
    files = " and ".join(f"config.body.{g}" for g in missing if g != "neutral")
    log.warning(
        "%s has people with shapes of the %s model, but this run has no file of it and uses the "
        "%s model. Their shapes are not used, only keypoints, annotated joints and pose. %s, or "
        "treat all shapes as those of the run's model with config.body.truth=own.",
        *(folder, " or ".join(missing), mine),
        f"Set {files} to the models' files" if files else "Train the neutral model",
    )


def moved(known: dict, placed: person_augmentation.Placing, form: form_lib.Form) -> dict:
    """Returns a frame's known values for the picture that is cut out of it, ready to be stacked.

    Returns:
        keypoints [L, 3] in [-1, 1]; joints [L, 4]; pose [K, 3]; betas [S]; translation [3];
        matrix [3, 3], see `Placing.matrix`; has_pose, has_shape, has_mesh, exact float32; gender
        int32; crop [3, 3], maps the picture's [-1, 1] to pixels of the frame; with `Form.vertices`
        also vertices [V, 3] and has_vertices.
    """

    def placed_label(name):
        label = label_fields.LABELS[name]
        return label_fields.placed(label, known[name], placed, form.mirror, form.pose_mirror)

    root = form.root + known["betas"] @ form.root_shapes
    matrix = np.zeros((3, 3))
    if np.any(known["intrinsics"]):
        matrix = placed.matrix(known["intrinsics"])
    single = {name: placed_label(name) for name in ("keypoints", "joints", "pose", "betas")}
    single |= {
        "translation": placed.turn @ known["place"] - root,
        "matrix": matrix,
        "crop": placed.frame_from_crop,
        **{name: known[name] for name in ("has_pose", "has_shape", "has_mesh", "exact")},
    }
    if form.vertices:
        mine = known["vertices"]
        single["has_vertices"] = mine is not None
        zeros = np.zeros((form.vertices, 3))
        single["vertices"] = zeros if mine is None else placed_label("vertices")
    found = {name: np.asarray(value, np.float32) for name, value in single.items()}
    return found | {"gender": np.int32(known["gender"])}


def mean(
    people: list[tuple[Notes, np.ndarray]], form: form_lib.Form, count: int = 512
) -> tuple[np.ndarray, ...]:
    """Returns the mean pose and shape of the people in some folders.

    Args:
        people: for each folder, its notes and the rows of the frames to use.
        form: the form of the body model.
        count: largest number of frames read in each folder; they are evenly spread.

    Returns:
        [K, 3, 3] rotations, each the mean of the people's rotations, but the root's is upright and
        faces the camera; and [S] betas.
    """
    sums, betas, shaped = np.zeros((form.joints, 3, 3)), np.zeros(form.betas), 0
    for notes, rows in people:
        spread = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
        for row in rows[np.unique(spread)]:
            known = notes.read(int(row))
            if not known["has_pose"]:
                continue
            pose = known["pose"] * (np.array([1, -1, -1]) if known["mirrored"] else 1)
            sums += rotations.from_vector(pose)
            if known["has_shape"]:
                betas += known["betas"]
                shaped += 1
    if not sums.any():
        log.warning(
            "No frame has a pose of %s. Unless config.body.mean names a file, estimates start from "
            "the model's zero pose.",
            form.kind,
        )
        sums[:] = np.eye(3)
    u, _, vt = np.linalg.svd(sums)
    u[:, :, -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    turns = u @ vt
    turns[0] = np.diag([1.0, -1, -1])  # y points up in models, down in cameras
    return turns, betas / max(shaped, 1)
