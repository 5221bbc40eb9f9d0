"""Writes the open models (SMPL-format models of the built-in body) and prints their fit errors.

python -m crocohuman_jax.synthetic.open_models --output=models
"""

import argparse
import pathlib

import numpy as np

from crocohuman_jax.synthetic.figure import open_fit, parametric_body, smpl_joints
from crocohuman_jax.synthetic.figure import open_models as models
from crocohuman_jax.synthetic.motion import motion


def errors(components: int = 10, count: int = 240, seed: int = 1) -> dict[str, np.ndarray]:
    """Returns distances in mm between vertices of the full and the open body: {name: [count, n]}.

    The names are "rest" (zero pose of the open body), "posed", "posed, no hands" (without the
    vertices that the hands move) and "right hand" (with the hand model). The adults are not among
    those that the shape directions were computed from; each has one pose of a random motion.

    Args:
        components: number of betas.
        count: number of adults.
        seed: seed of adults and motions.
    """
    full, rng = parametric_body.load(), np.random.default_rng(seed)
    body, hand = open_fit.posable("body", components), open_fit.posable("right", components)
    in_hand = models.hand("right", components)["vertices"]
    hands = [full.parts.index(name) for name in ("hand_l", "hand_r")]
    others = full.part_weights[:, hands].sum(1) < 0.5
    found = {"rest": [], "posed": [], "posed, no hands": [], "right hand": []}

    def distance(posable, p, target):
        off = posable.pose(p.betas, p.pose, p.transl)[0] - target
        return np.linalg.norm(off, axis=1) * 1e3

    for coefficients in models.adults(count, seed + 1000):
        rest, heads = full.rest(coefficients)
        target = full.skin(rest, full.transforms(heads, models.body_rig().zero))
        fitted = open_fit.fit_body(coefficients, target, components)
        found["rest"].append(distance(body, fitted, target))
        drawn = motion.draw(full, heads, int(rng.integers(1 << 62)))
        pose = drawn.at(rng.uniform(0, drawn.duration))
        target = full.skin(rest, full.transforms(heads, pose.rotations, pose.translation))
        off = distance(body, open_fit.fit_body(coefficients, target, components), target)
        found["posed"].append(off)
        found["posed, no hands"].append(off[others])
        fitted = open_fit.fit_hand(coefficients, target, "right", components)
        found["right hand"].append(distance(hand, fitted, target[in_hand]))
    return {name: np.stack(rows) for name, rows in found.items()}


def report() -> None:
    """Prints the fit errors for 10, 16 and 32 shape components."""
    print("betas  what              mean    p99    max  mm")
    for components in (10, 16, 32):
        for name, off in errors(components).items():
            mean, tail, worst = off.mean(), np.percentile(off, 99), off.max()
            print(f"{components:5}  {name:15}  {mean:5.2f}  {tail:5.2f}  {worst:5.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="folder for the files")
    parser.add_argument("--components", type=int, default=10, help="shape directions, at most 32")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    models.save(models.body(arguments.components), arguments.output / "open_body.npz")
    for side in smpl_joints.SIDES:
        models.save(
            models.hand(side, arguments.components), arguments.output / f"open_hand_{side}.npz"
        )
    report()


if __name__ == "__main__":
    main()
