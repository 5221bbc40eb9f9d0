"""Makes from labels the targets of the loss and the ground truth of an evaluation.

The loss uses the trained points and only the vertices that it needs. An evaluation uses the
measured points and the whole mesh; it prefers annotated points and meshes to those that the body
model gives for the true parameters.
"""

import jax.numpy as jnp

from crocohuman_jax.body_models import cameras, rotations, run_body


def targets(batch, models: run_body.Bodies, landmarks) -> dict:
    """Returns the targets that the loss compares predictions with.

    Args:
        batch: a batch of `labelled_people`.
        models: the body models that pose the true parameters.
        landmarks: gives the L trained points from vertices and joints.

    Returns:
        turns [B, K, 3, 3], betas [B, S], vertices [B, V, 3], places [B, K, 3], keypoints [B, L, 3]
        and joints [B, L, 4] with confidences, has_pose [B].
    """
    turns = rotations.exp(batch["pose"])
    vertices, places = models.truth(batch["betas"], turns, batch["gender"])
    points = landmarks(vertices, places)
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
        # Annotated joints are more accurate than joints of estimated parameters.
        "joints": jnp.where(
            batch["joints"][..., 3:].any(1, keepdims=True), batch["joints"], joints
        ),
        "has_pose": batch["has_pose"],
    }


def truth(batch, bodies: run_body.Bodies) -> dict:
    """Returns the true mesh and points: annotated ones, else those of the true parameters.

    Returns:
        vertices [B, V, 3]; points [B, P, 3]; has_mesh, has_points and annotated (whether the
        points are), [B] each.
    """
    turns = rotations.exp(batch["pose"])
    vertices, places = bodies.truth(batch["betas"], turns, batch["gender"])
    points, has_mesh = bodies.measured(vertices, places), batch["has_mesh"]
    joints = measured(bodies, batch["joints"], root=True)
    annotated = joints[..., 3].min(-1)  # annotated only if all joints are
    seen = annotated[:, None, None] > 0
    # Annotated joints are in camera space, but parameters give a mesh around its own origin.
    vertices += jnp.where(seen, joints[:, :1, :3] - points[:, :1], 0)
    points = jnp.where(seen, joints[..., :3], points)
    if "vertices" in batch:  # annotated vertices are in the coordinates of annotated joints
        meshed = batch["has_vertices"] * (annotated > 0)
        vertices = jnp.where(meshed[:, None, None] > 0, batch["vertices"], vertices)
        has_mesh = jnp.maximum(has_mesh, meshed)
    return {
        "vertices": vertices,
        "points": points,
        "has_mesh": has_mesh,
        "has_points": jnp.where(annotated > 0, 1.0, batch["has_mesh"]),
        "annotated": (annotated > 0).astype(jnp.float32),
    }


def measured(bodies: run_body.Bodies, rows, root: bool = False):
    """Returns the measured points of the trained ones [B, L, C]; `root` keeps root-only ones."""
    at = bodies.among_trained(root)
    return rows[:, at] * (at >= 0)[:, None]
