"""Mesh recovery: the pose, shape and mesh of a body or a hand from one or two pictures."""

import jax
import jax.numpy as jnp
import numpy as np

from crocohuman_jax import models
from crocohuman_jax.body_models import cameras, lbs, mesh_downsampling, rotations, supervision
from crocohuman_jax.data.streams import labelled_people, placing, targets
from crocohuman_jax.evaluation import mesh as mesh_lib
from crocohuman_jax.metrics import losses, pose
from crocohuman_jax.models import croco, finetune_net, flops, pixels
from crocohuman_jax.models.heads import metro, regressor
from crocohuman_jax.tasks import Task
from crocohuman_jax.visualize import drawing

NOT_THE_HEADS = ("kind", "supervise", "levels", "sampling")  # what its module does not take
AXES = (*croco.AXES, *regressor.AXES, *metro.AXES)


def make(config) -> Task:
    """Returns the task of `config.model`, `config.head`, `config.body`, `config.loss`, `.data`."""
    model = config.model
    sizes = croco.shapes(model.image, model.patch, model.position, model.encoder, model.decoder)
    if model.image[0] != model.image[1]:
        sides = tuple(model.image)
        raise ValueError(f"config.model.image={sides}: people are seen in square pictures.")
    bodies = supervision.Bodies(**config.body)
    data = Data(config, bodies)
    mesh = Mesh(
        encoder=sizes[0],
        decoder=None if config.data.second == "none" else sizes[1],
        image=tuple(model.image),
        patch=model.patch,
        position=model.position,
        compute=croco.Compute(
            dtype=model.dtype, attention=model.attention, remat=model.remat, unroll=model.unroll
        ),
        drop_path=model.drop_path,
        keep_cls=model.keep_cls,
        head=config.head.to_dict(),
        loss=losses.checked(config.loss.to_dict()),
        bodies=bodies,
    )
    return Task(
        init=mesh.init,
        counts=mesh.counts,
        loss=mesh.loss,
        metrics=mesh.metrics,
        predict=mesh.predict,
        picture=mesh.picture,
        flops=mesh.flops,
        train=data.train,
        held_out=data.held_out,
        axes=AXES,
        from_data=lambda: {"mean": data.mean()},
        unit="people",
        everyone=data.everyone,
    )


class Data:
    """The people that a run learns from and is measured on."""

    def __init__(self, config, bodies: supervision.Bodies):
        self.form, self.whole = bodies.form(), bodies.form(meshes=True)
        self.config, self.bodies = config.data, bodies
        self.mean_file, self.seed = config.body.mean, config.seed
        self.side, self._train = config.model.image[0], None

    def sources(self) -> list[labelled_people.Source]:
        """Returns the folders' people to learn from, opened once."""
        if self._train is None:
            self._train = self._open("train", self.config.fraction)
        return self._train

    def mean(self) -> np.ndarray:
        """Returns the pose, shape and camera that estimates begin at, [6 K + S + 3]."""
        if self.mean_file:
            return supervision.mean_file(self.mean_file, self.form)
        known = [(source.notes, source.rows) for source in self.sources()]
        return self.bodies.estimate(*targets.mean(known, self.form))

    def train(self):
        """Returns the endless stream."""
        change = placing.Change(**self.config.augment)
        return self._stream(self.sources(), change, tuple(self.config.weights), None)

    def held_out(self):
        """Returns the people held out, None for none."""
        found = self._open("validation")
        if self.config.held_out_people == 0 or not any(len(source.rows) for source in found):
            return None
        return self._stream(found, None, (), self.config.held_out_people)

    def everyone(self, split: str):
        """Returns all people of a split, with meshes where they come with the data."""
        return self._stream(self._open(split, form=self.whole), None, (), 0, self.whole)

    def _open(self, split: str, fraction: float = 1.0, form=None) -> list[labelled_people.Source]:
        return labelled_people.open_sources(
            tuple(filter(None, self.config.folders.split(","))),
            split=split,
            form=form or self.form,
            second=self.config.second,
            gap=tuple(self.config.gap),
            fraction=fraction,
            seed=self.seed,
        )

    def _stream(self, sources, change, weights, count, form=None):
        return labelled_people.stream(
            sources,
            form=form or self.form,
            side=self.side,
            change=change,
            second=self.config.second,
            weights=weights,
            seed=self.seed,
            count=count,
        )


class Mesh:
    """Loss, metrics and predictions of the network.

    Args:
        encoder, decoder, image, patch, options: see `finetune_net.MeshNet`.
        head: kind, and what the head of that kind takes.
        loss: weights of the terms.
        bodies: the body model.

    Raises:
        ValueError: an unknown head, or sizes that do not fit together.
    """

    def __init__(self, *, encoder, decoder, image, patch, head, loss, bodies, **options):
        self.encoder, self.decoder, self.patch = encoder, decoder, patch
        self.grid, self.bodies, self.weights = croco.patch_grid(image, patch), bodies, loss
        self.body, self.head = bodies.body, finetune_net.checked(head)
        self.sizes = (6 * len(self.body.names), len(self.body.shapes), 3)
        self.iterative = head["kind"] == "iterative"
        self.unit = bodies.size if self.iterative and loss["unit"] == "size" else 1.0
        if not self.iterative and (bodies.measured.joints >= 0).any():
            raise ValueError(
                "config.body.joints='model' takes joints of the model's chain, which a mesh of "
                "head.kind='metro' has not: 'mesh' finds them from the mesh."
            )
        bodies.hips(bodies.trained.names)
        self.learned, self.true_models = (self.body, bodies.trained), bodies
        if self.iterative and not loss["vertices"]:  # then most of the mesh is not looked at
            used = bodies.trained.used()
            self.learned = (lbs.part(self.body, used), bodies.trained.within(used))
            self.true_models = bodies.part(used)
        if not self.iterative:
            self.learned = (self.body, bodies.trained_from_mesh())
            self._prepare_metro()
        self._init, self.bind = models.functional(
            lambda key: finetune_net.MeshNet(
                encoder,
                decoder,
                self._build_head,
                mean=sum(self.sizes),
                image=image,
                patch=patch,
                key=key,
                **options,
            )
        )

    def init(self, key):
        """Returns the first parameters; estimates begin at the zero pose until `from_data`."""
        return self._init(key) | {"mean": jnp.asarray(self.bodies.zero)}

    def _build_head(self, width, rngs):
        options = {k: v for k, v in self.head.items() if k not in NOT_THE_HEADS}
        options["dtype"] = jnp.float32
        if self.iterative:
            joints, shapes = len(self.body.names), len(self.body.shapes)
            return regressor.Regressor(width, joints=joints, shapes=shapes, rngs=rngs, **options)
        count = self.grid[0] * self.grid[1]
        options |= {"joints": self.template[0], "coarse": self.template[1]}
        options["camera"] = self.bodies.camera
        return metro.Metro(width, count, sizes=self.coarse.levels[::-1], rngs=rngs, **options)

    def _prepare_metro(self) -> None:
        """Finds the coarse meshes, and the template that the queries begin at."""
        rest = np.asarray(self.body.template)
        levels = tuple(self.head["levels"])
        self.coarse = self.bodies.coarse(levels, self.head["sampling"])
        points = self.bodies.measured(rest[None], np.asarray(self.body.joints)[None])
        upright = np.array([1, -1, -1], np.float32)  # models have y up, cameras y down
        points = np.asarray(points[0])
        small = mesh_downsampling.pyramid(self.coarse, rest)[-1]
        measured = points[self.bodies.only_root :]
        self.template = [(x - points[0]) * upright for x in (measured, small)]

    def counts(self, batch):
        """Returns how many people each term is the mean over; without those of weight zero."""
        counted = self._counted(batch)
        return {name: jnp.sum(each) for name, each in counted.items() if self.weights[name]}

    def _counted(self, batch) -> dict:
        """Returns how much each person counts in each term, {name: [B]}, from labels alone."""
        everyone, has_mesh = jnp.ones(len(batch["pose"])), batch["has_mesh"]
        used = batch["joints"] if self.iterative else self._measured(batch["joints"])
        annotated = batch["joints"][..., 3].any(-1)
        known = jnp.where(annotated, used[..., 3].any(-1), has_mesh)
        found = {"keypoints_2d": everyone, "keypoints_3d": known, "vertices": has_mesh}
        if self.iterative:
            found |= {"pose": batch["has_pose"], "root": batch["has_pose"]}
            found |= {"betas": batch["has_shape"], "depth": everyone}
        return found

    def loss(self, params, batch, key, counts):
        """Returns the share of these people in the weighted sum of the terms, and in each."""
        out = self.bind(params)(*self._patches(batch, True), key)
        truth = self._truth(batch)
        terms = (self._iterative_terms if self.iterative else self._metro_terms)(out, truth)
        counted = self._counted(batch)
        # A term of weight zero is left out: what is not finite in it would stay so, times zero.
        shares = {n: losses.share(terms[n], counted[n], whole) for n, whole in counts.items()}
        total = self.weights["total"] * sum(self.weights[n] * v for n, v in shares.items())
        return total, {"loss": total} | {f"loss_{name}": value for name, value in shares.items()}

    def _truth(self, batch) -> dict:
        """Returns what predictions are compared with, as annotated or of `Bodies.truth`."""
        turns = rotations.exp(batch["pose"])
        vertices, places = self.true_models.truth(batch["betas"], turns, batch["gender"])
        points = self.learned[1](vertices, places)
        seen = cameras.pinhole(points + batch["translation"][:, None], batch["matrix"])
        exact = batch["exact"][:, None, None] > 0
        certain = jnp.ones((*points.shape[:2], 1))
        full = batch["has_mesh"][:, None, None] > 0
        joints = jnp.where(full, jnp.concatenate([points, certain], -1), batch["joints"])
        return {
            "turns": turns,
            "betas": batch["betas"],
            "vertices": vertices,
            "places": places,
            "keypoints": jnp.where(exact, jnp.concatenate([seen, certain], -1), batch["keypoints"]),
            # Annotated joints are better than those of a pseudo truth.
            "joints": jnp.where(
                batch["joints"][..., 3:].any(1, keepdims=True), batch["joints"], joints
            ),
            "has_pose": batch["has_pose"],
        }

    def _iterative_terms(self, out, truth) -> dict:
        """Returns {name: [B] values}, of the last or all estimates."""
        body, trained = self.learned
        steps = range(1, len(out["pose"])) if self.head["supervise"] == "all" else [-1]
        found = [
            losses.regressor(
                {name: value[step] for name, value in out.items()},
                truth,
                body=body,
                landmarks=trained,
                hips=self.bodies.hips(trained.names),
                frame=self.weights["frame"],
                unit=self.unit,
            )
            for step in steps
        ]
        return jax.tree.map(lambda *x: sum(x) / len(x), *found)

    def _metro_terms(self, out, truth) -> dict:
        """Returns the terms of METRO, see `_iterative_terms`."""
        skip = self.bodies.only_root
        names = self.bodies.measured.names[skip:]
        hips = self.bodies.hips(names)
        keypoints, joints = (self._measured(truth[n]) for n in ("keypoints", "joints"))
        both = (out["joints"], self.bodies.measured(out["vertices"][-1], None)[:, skip:])
        root = self.bodies.measured(truth["vertices"], truth["places"])[:, :1]
        levels = mesh_downsampling.pyramid(self.coarse, truth["vertices"] - root)[::-1]
        pairs = zip(out["vertices"], levels, strict=True)
        shown = [losses.keypoints_2d(cameras.weak(p, out["camera"]), keypoints) for p in both]
        near = [losses.keypoints_3d(points, joints, hips) for points in both]
        return {
            "keypoints_2d": sum(shown),
            "keypoints_3d": sum(near),
            "vertices": sum(losses.absolute(*p) for p in pairs) / len(levels),
        }

    def _measured(self, rows, root: bool = False):
        """Returns the measured points among the trained ones [B, L, C], with the root or not."""
        at = self.bodies.among_trained(root)
        return rows[:, at] * (at >= 0)[:, None]

    def _predicted(self, params, batch):
        """Returns the mesh [B, V, 3], the measured points and the camera, of one estimate."""
        out = self.bind(params)(*self._patches(batch, False))
        if not self.iterative:
            vertices = out["vertices"][-1]
            return {"vertices": vertices, "camera": out["camera"]} | {
                "points": self.bodies.measured(vertices, None)
            }
        last = {name: value[-1].astype(jnp.float32) for name, value in out.items()}
        turns = rotations.from_6d(last["pose"])
        vertices, places = lbs.pose(self.body, last["shape"], turns)
        found = {"vertices": vertices, "points": self.bodies.measured(vertices, places)}
        return found | {"camera": last["camera"], "pose": turns, "betas": last["shape"]}

    def metrics(self, params, batch):
        """Returns errors in mm, ([B], [B] whether it has them) each.

        mpjpe and mpvpe are about the root (pelvis or wrist), pa_ ones after a similarity alignment;
        mean_ ones are of the mean person, who answers everybody alike.
        """
        predicted, truth = self._predicted(params, batch), self._true(batch)
        found = mesh_lib.errors(predicted, truth, self.bodies.only_root)
        turns, betas, _ = jnp.split(params["mean"], np.cumsum(self.sizes)[:2])
        turns = rotations.from_6d(turns.reshape(1, -1, 6))
        vertices, places = lbs.pose(self.body, betas[None], turns)
        mean = {"vertices": vertices, "points": self.bodies.measured(vertices, places)}
        mean = jax.tree.map(lambda x: jnp.broadcast_to(x, (len(batch["pose"]), *x.shape[1:])), mean)
        answers = mesh_lib.errors(mean, truth, self.bodies.only_root)
        found |= {f"mean_{name}": answers[name] for name in ("mpjpe", "pa_mpjpe", "mpvpe")}
        return {
            name: (value, truth["has_mesh" if "vpe" in name else "has_points"])
            for name, value in found.items()
        }

    def _true(self, batch) -> dict:
        """Returns the true mesh and points, as annotated or else of the true parameters."""
        turns = rotations.exp(batch["pose"])
        vertices, places = self.bodies.truth(batch["betas"], turns, batch["gender"])
        points, has_mesh = self.bodies.measured(vertices, places), batch["has_mesh"]
        joints = self._measured(batch["joints"], root=True)
        annotated = joints[..., 3].min(-1)  # all of them
        seen = annotated[:, None, None] > 0
        # Annotated joints lie where the camera sees them, parameters give a mesh about its origin.
        vertices += jnp.where(seen, joints[:, :1, :3] - points[:, :1], 0)
        points = jnp.where(seen, joints[..., :3], points)
        if "vertices" in batch:  # annotated ones lie about annotated joints
            meshed = batch["has_vertices"] * (annotated > 0)
            vertices = jnp.where(meshed[:, None, None] > 0, batch["vertices"], vertices)
            has_mesh = jnp.maximum(has_mesh, meshed)
        has_points = jnp.where(annotated > 0, 1.0, batch["has_mesh"])
        return {
            "vertices": vertices,
            "points": points,
            "has_mesh": has_mesh,
            "has_points": has_points,
            "annotated": (annotated > 0).astype(jnp.float32),
        }

    def predict(self, params, batch):
        """Returns everything that is predicted and true of each person; metres.

        Returns:
            image [B, H, W, 3] in [0, 1]; vertices [B, V, 3] about the body's own origin and
            translation [B, 3], where the camera sees it; points [B, P, 3]; camera [B, 3]; of the
            iterative head pose [B, K, 3, 3] and betas [B, S]; true_vertices, true_points,
            true_translation, matrix; offsets [B, V] mm, about the root; and the errors.
        """
        predicted, truth = self._predicted(params, batch), self._true(batch)
        roots = [x["points"][:, :1] for x in (predicted, truth)]
        offsets = pose.distances(predicted["vertices"] - roots[0], truth["vertices"] - roots[1])
        shown = {"image": pixels.to_float(batch["image"]), "offsets": offsets}
        shown |= {f"true_{name}": truth[name] for name in ("vertices", "points")}
        shown |= {name: truth[name] for name in ("has_mesh", "has_points", "annotated")}
        shown |= {"true_translation": batch["translation"], "matrix": batch["matrix"]}
        shown |= {name: batch[name] for name in ("row", "folder", "exact", "crop")}
        shown["translation"] = cameras.translation(predicted["camera"])
        return shown | predicted | mesh_lib.errors(predicted, truth, self.bodies.only_root)

    def picture(self, shown: dict[str, np.ndarray]) -> np.ndarray:
        """Returns one row a person: picture, prediction, side, errors, truth, [H, W, 3] uint8."""
        rows = [
            (mesh_lib.caption(shown, i), mesh_lib.drawn(shown, i, self.body.faces.array))
            for i in range(len(shown["image"]))
        ]
        return drawing.page(rows, drawing.COLUMNS)

    def flops(self, batch):
        """Returns the operations of a batch's forward and backward pass, but for the body model."""
        count, patches = len(batch["pose"]), self.grid[0] * self.grid[1]
        each = flops.encoding(self.encoder, patches=patches, pixels=3 * self.patch**2)
        if self.decoder:
            each = 2 * each + flops.decoding(self.encoder, self.decoder, patches=patches)
        width = (self.decoder or self.encoder).width
        if self.iterative:
            hidden, steps = self.head["hidden"], self.head["steps"]
            return count * (each + flops.regressor(width, sum(self.sizes), hidden, steps))
        names = ("hidden", "outs", "depth", "feedforward", "feature_width")
        sizes = {"joints": len(self.template[0]), "sizes": self.coarse.levels[::-1]}
        options = {name: self.head[name] for name in names}
        return count * (each + flops.metro(width, patches, **sizes, **options))

    def _patches(self, batch, train: bool):
        """Returns the patches of both pictures, the second None where there is none."""
        found = []
        for i, name in enumerate(("image", "second")):
            if name not in batch or (i and not self.decoder):
                found.append(None)
                continue
            image = pixels.to_float(batch[name])
            if train:
                image = jnp.clip(image * batch["color"][:, i, None, None], 0, 1)
            found.append(pixels.patchify(pixels.normalize(image), self.patch))
        return found
