"""The body model of a run: its poses, its points for training and evaluation, its coarse meshes."""

import copy

import jax.numpy as jnp
import numpy as np

from crocohuman_jax.body_models import form as form_lib
from crocohuman_jax.body_models import joint_names, landmarks, lbs, loading, mesh_downsampling
from crocohuman_jax.configuration import options

BODY_SCALE = 0.9  # scale of the camera at which HMR's estimates start
BODY_SIZE = 1.7  # height in metres of SMPL's mean body
# The points that may be the origin (root) of errors.
ROOTS = ("auto", "pelvis", "mid_hip", "wrist", "none")


class Bodies:
    """The body model of a run, and the points on it.

    Args:
        model: a name or a file, see `loading.load`.
        betas: S, number of shape components.
        male, female: files of the male and the female model, which give the true meshes of people
            annotated with that gender, in training and evaluation; "" for none.
        extra: file of SPIN's J_regressor_extra, for SMPL; "" for none.
        h36m: file of Human3.6M's regressor, for SMPL; "" for none.
        h36m_order: order of its rows: "spin" or "metro".
        tips: convention for the vertices of MANO's finger tips: "freihand" or "manopth".
        joints: how evaluation finds the joints of hands: from the "mesh" or from the "model".
        gender: gender of the model: "neutral", "male" or "female".
        truth: which body model poses the ground truth: "annotated" uses that of the annotated
            gender, "own" the run's model for every gender.
        mean: unused here, see `mean_file`.
    """

    def __init__(
        self,
        *,
        model,
        betas,
        male,
        female,
        extra,
        h36m,
        h36m_order,
        tips,
        joints,
        gender,
        truth,
        mean,
    ):
        del mean
        if truth not in ("annotated", "own"):
            raise ValueError(f"config.body.truth must be 'annotated' or 'own', not {truth!r}.")
        if joints not in ("mesh", "model"):
            raise ValueError(f"config.body.joints must be 'mesh' or 'model', not {joints!r}.")
        options.check_number("config.body.betas", betas, least=1, whole=True)
        for name, value, known in (
            ("gender", gender, form_lib.GENDERS),
            ("h36m_order", h36m_order, landmarks.H36M_ORDERS),
            ("tips", tips, landmarks.TIPS),
        ):
            if value not in known:
                raise ValueError(
                    f"Unknown config.body.{name} {value!r}. Known: {', '.join(known)}."
                )
        self.body = _loaded("model", model, betas)
        if len(self.body.names) not in (len(joint_names.MANO), len(joint_names.SMPL)):
            raise ValueError(
                f"config.body.model={model} has {len(self.body.names)} joints. Use a body of "
                f"{len(joint_names.SMPL)} joints (SMPL, open_body) or a hand of "
                f"{len(joint_names.MANO)} (MANO, open_hand_right)."
            )
        self.gendered = {
            g: _loaded(g, path, betas) for g, path in (("male", male), ("female", female)) if path
        }
        for gender_, other in self.gendered.items():
            if other.faces != self.body.faces:
                raise ValueError(
                    f"config.body.{gender_} and config.body.model have different triangles. Use "
                    "files of the same kind of model."
                )
        self.gender, self.rule, self.hand = gender, truth, len(self.body.names) == 16
        self.trained = landmarks.keypoints(self.body, regressor("extra", extra), tips)
        self.measured, self.only_root = landmarks.evaluated(
            self.body, regressor("h36m", h36m), h36m_order, tips, from_mesh=joints == "mesh"
        )

    def form(self, meshes: bool = False) -> form_lib.Form:
        """Returns the description that data needs; `meshes` asks for annotated meshes too."""
        body, names = self.body, self.trained.names
        return form_lib.Form(
            kind=body.kind,
            names=names,
            aliases={k: v for k, v in landmarks.ALIASES.items() if k not in names},
            joints=len(body.names),
            betas=len(body.shapes),
            root=np.asarray(body.joints[0], np.float64),
            root_shapes=np.asarray(body.joint_shapes[:, 0], np.float64),
            mean_pose=np.asarray(body.mean_pose, np.float64),
            gender=self.gender,
            genders=self.genders(),
            own=self.rule == "own",
            vertices=len(body.template) if meshes else 0,
        )

    def part(self, vertices: np.ndarray) -> "Bodies":
        """Returns the same models with some vertices only, so that `truth` runs faster."""
        found = copy.copy(self)
        found.body = lbs.part(self.body, vertices)
        found.gendered = {g: lbs.part(b, vertices) for g, b in self.gendered.items()}
        return found

    def coarse(self, levels: tuple[int, ...], sampling: str) -> mesh_downsampling.Coarse:
        """Returns the model's coarse meshes.

        Args:
            levels: number of vertices of each, from fine to coarse.
            sampling: a converted file of METRO with these meshes; "" to compute them.

        Raises:
            ValueError: the levels do not fall, or the file has meshes of other sizes.
        """
        rest = np.asarray(self.body.template)
        options.check_numbers("config.head.levels", levels, least=1, below=len(rest), whole=True)
        if not levels or sorted(set(levels), reverse=True) != list(levels):
            raise ValueError(
                f"config.head.levels is {levels}. Set it to one or more numbers of vertices, each "
                "smaller than the one before."
            )
        if not sampling:
            return mesh_downsampling.cached(rest, self.body.faces.array, levels, None)
        found = mesh_downsampling.from_arrays(
            named("head.sampling", sampling), levels=1 + len(levels)
        )
        if found.levels != (len(rest), *levels):
            raise ValueError(
                f"config.head.sampling={sampling} has meshes of {found.levels} vertices, but the "
                f"body model and config.head.levels need {(len(rest), *levels)}."
            )
        return found

    def unknown(self, count: int) -> dict[str, np.ndarray]:
        """Returns empty annotations for a batch of people who have pictures only."""
        joints, points = len(self.body.names), len(self.trained.names)
        shapes = {"has_pose": (), "has_shape": (), "has_mesh": (), "exact": (), "translation": (3,)}
        shapes |= {"pose": (joints, 3), "betas": (len(self.body.shapes),), "matrix": (3, 3)}
        shapes |= {"keypoints": (points, 3), "joints": (points, 4), "crop": (3, 3)}
        found = {name: np.zeros((count, *shape), np.float32) for name, shape in shapes.items()}
        return found | {name: np.zeros(count, np.int32) for name in ("row", "folder", "gender")}

    def genders(self) -> tuple[str, ...]:
        """Returns the genders for which true meshes can be computed."""
        if self.rule == "own":
            return form_lib.GENDERS
        return tuple(dict.fromkeys((self.gender, *self.gendered)))

    def hips(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Returns the indices of the points whose mean is the origin in losses: hips or wrist.

        Raises:
            ValueError: they are not among the points.
        """
        wanted = "wrist" if self.hand else "hip"
        found = tuple(i for i, name in enumerate(names) if wanted in name)
        if not found:
            raise ValueError(
                f"The points of {self.body.kind!r} have no {wanted}, the origin in losses: "
                f"{', '.join(names)}. SPIN's J_regressor_extra gives both hips of SMPL: convert it "
                "with `convert body` and name it in config.body.extra."
            )
        return found

    def root(self, choice: str) -> tuple[int, ...]:
        """Returns the evaluated points whose mean is the origin (root) of errors; () for none.

        Args:
            choice: one of ROOTS; "auto" is the pelvis, or the wrist of a hand.

        Raises:
            ValueError: the body model has no such root.
        """
        own = "wrist" if self.hand else "pelvis"
        if choice in ("auto", own):
            return (self.measured.names.index(own),)
        if choice == "none":
            return ()
        if choice not in ROOTS or self.hand or choice == "wrist":
            known = ", ".join(ROOTS[:1] + (("wrist",) if self.hand else ROOTS[1:3]) + ROOTS[-1:])
            raise ValueError(
                f"--root={choice}: errors of {self.body.kind!r} can be relative to one of {known}."
            )
        return self.hips(self.measured.names)

    def among_trained(self, root: bool = False) -> np.ndarray:
        """Returns the index of the trained point that equals each evaluated point, -1 for none.

        `root` says whether points that are only the root are included.
        """
        trained, found = self.trained.names, []
        for name in self.measured.names[0 if root else self.only_root :]:
            # Human3.6M calls the middle of the head its top, in the regressor and annotations.
            others = ["head_h36m"] if root and name == "head_top" else []
            others += [name, f"{name}_lsp", f"{name}_mpii"]
            found.append(next((trained.index(n) for n in others if n in trained), -1))
        return np.array(found)

    def trained_from_mesh(self) -> landmarks.Landmarks:
        """Returns the trained points; those that are also evaluated come from the mesh as there.

        A joint of the model's chain and the joint that a regressor finds in the posed mesh are
        centimetres apart, so a head that predicts a mesh could not fit both.
        """
        at = self.among_trained()
        mine, there = np.flatnonzero(at >= 0) + self.only_root, at[at >= 0]
        joints, matrix = self.trained.joints.copy(), self.trained.matrix.copy()
        joints[there], matrix[there] = self.measured.joints[mine], self.measured.matrix[mine]
        return landmarks.Landmarks(self.trained.names, joints, matrix)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Numbers of values in an estimate: (pose in 6D, shape, camera)."""
        return 6 * len(self.body.names), len(self.body.shapes), 3

    @property
    def size(self) -> float:
        """Size of the model relative to a body: 1 for bodies, about an eighth for hands."""
        rest = np.asarray(self.body.template)
        return float(np.ptp(rest, axis=0).max() / BODY_SIZE) if self.hand else 1.0

    @property
    def camera(self) -> tuple[float, float, float]:
        """The camera (s, tx, ty) at which estimates start; it sees a hand as large as a body."""
        return BODY_SCALE / self.size, 0.0, 0.0

    @property
    def zero(self) -> np.ndarray:
        """The zero pose and mean shape, facing the camera upright, [6 K + S + 3]."""
        turns = np.tile(np.eye(3), (len(self.body.names), 1, 1))
        turns[0] = np.diag([1.0, -1, -1])  # models have y up, cameras y down
        return self.estimate(turns, np.zeros(len(self.body.shapes)))

    def estimate(self, turns: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Returns rotations [K, 3, 3], shape [S] and `camera` as one row [6 K + S + 3]."""
        found = np.concatenate([turns[..., :2].reshape(-1), betas, self.camera])
        return found.astype(np.float32)

    def straight(self, betas, gender=None):
        """Returns the meshes of shapes in the zero pose, [B, V, 3]; `gender` is for true shapes."""
        turns = jnp.broadcast_to(jnp.eye(3), (len(betas), len(self.body.names), 3, 3))
        if gender is None:
            return lbs.pose(self.body, betas, turns)[0]
        return self.truth(betas, turns, gender)[0]

    def truth(self, betas, turns, gender):
        """Returns vertices and joints of true parameters, by the models that `truth` asks for."""
        vertices, places = lbs.pose(self.body, betas, turns)
        for name, body in self.gendered.items() if self.rule == "annotated" else ():
            mine = gender == form_lib.GENDERS.index(name)
            others = lbs.pose(body, betas, turns)
            vertices = jnp.where(mine[:, None, None], others[0], vertices)
            places = jnp.where(mine[:, None, None], others[1], places)
        return vertices, places


def _loaded(key: str, name: str, betas: int):
    """Returns the body model of one key of config.body."""
    try:
        return loading.load(name, betas)
    except ValueError as error:
        raise ValueError(
            f"config.body.{key}={name!r}, config.body.betas={betas}: {error}"
        ) from error


def named(key: str, path: str) -> dict[str, np.ndarray]:
    """Returns the arrays of a converted file; the ValueError of a wrong file names its key."""
    try:
        return loading.arrays(path)
    except ValueError as error:
        raise ValueError(f"config.{key}: {error}") from error


def regressor(key: str, path: str) -> np.ndarray | None:
    """Returns the regressor in the converted file of one key of config.body; None for no path."""
    if not path:
        return None
    found = named(f"body.{key}", path)
    if "J_regressor" not in found:
        raise ValueError(
            f"config.body.{key}={path} holds no J_regressor; it has "
            f"{', '.join(found) or 'nothing'}."
        )
    return found["J_regressor"]


def mean_file(path: str, form: form_lib.Form) -> np.ndarray:
    """Returns the mean pose, shape and camera of a converted smpl_mean_params file."""
    found = named("body.mean", path)
    if not {"pose", "shape", "cam"} <= set(found):
        raise ValueError(f"config.body.mean={path} lacks one of the arrays pose, shape and cam.")
    if found["pose"].size != 6 * form.joints or found["shape"].size < form.betas:
        raise ValueError(
            f"config.body.mean={path} has {found['pose'].size} numbers for the pose and "
            f"{found['shape'].size} for the shape, expected {6 * form.joints} and {form.betas}."
        )
    shape = found["shape"].reshape(-1)[: form.betas]
    found = np.concatenate([found["pose"].reshape(-1), shape, found["cam"].reshape(-1)])
    return found.astype(np.float32)
