"""The iterative regressor of pose, shape and camera (HMR's, in SPIN's form)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.models import blocks, layers

ACTIVATIONS = {"none": lambda x: x, "relu": jax.nn.relu, "gelu": layers.exact_gelu}
OUTPUTS = ("pose", "shape", "camera")
CAMERAS = ("relative", "direct")


class Regressor(nnx.Module):
    """Corrects an estimate of pose, shape and camera a few times, always with the same weights.

    Each time the feature and the estimate go through two layers, without anything between them
    unless `activation` says so, and three more give what is added to the estimate.

    Args:
        features: D, width of the tokens.
        joints: K of the body model; each has six numbers, see `rotations.from_6d`.
        shapes: S, betas.
        hidden: width of the two layers.
        steps: corrections.
        dropout: share of hidden values that training drops, after each of the two layers.
        activation: after each of the two layers: "none", "relu" or "gelu".
        camera: what the camera's three numbers are. "relative": the logarithm of the scale over
            the mean's scale, and the shift in units of the picture, so that a scale cannot change
            sign and steps are of one size for bodies and hands. "direct": scale and shift
            themselves (SPIN's).
        dtype: of the products.
        rngs: random keys.

    Raises:
        ValueError: an unknown activation or camera, or no step.
    """

    def __init__(
        self,
        features: int,
        *,
        joints: int,
        shapes: int,
        hidden: int,
        steps: int,
        dropout: float,
        activation: str,
        camera: str,
        dtype,
        rngs: nnx.Rngs,
    ):
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"Unknown config.head.activation {activation!r}. Known: {', '.join(ACTIVATIONS)}."
            )
        if camera not in CAMERAS:
            raise ValueError(f"Unknown config.head.camera {camera!r}. Known: {', '.join(CAMERAS)}.")
        options_lib.check_number("config.head.hidden", hidden, least=1, whole=True)
        options_lib.check_number("config.head.steps", steps, least=1, whole=True)
        options_lib.check_number("config.head.dropout", dropout, least=0, below=1)
        self.sizes = (6 * joints, shapes, 3)
        options = {"dtype": dtype, "rngs": rngs}
        self.first = layers.Linear(features + sum(self.sizes), hidden, **options)
        self.second = layers.Linear(hidden, hidden, **options)
        for name, size in zip(OUTPUTS, self.sizes, strict=True):
            out = layers.Linear(hidden, size, dtype=jnp.float32, rngs=rngs)
            out.kernel = nnx.Param(0.01 * out.kernel[...])  # Xavier's with a gain of 0.01
            setattr(self, name, out)
        self.steps, self.dropout, self.activation = steps, dropout, activation
        self.relative = camera == "relative"

    def __call__(
        self, tokens: jax.Array, mean: jax.Array, key: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns every estimate, the first being the mean itself.

        Args:
            tokens: [B, N, D], whose mean over N is the feature.
            mean: [6 K + S + 3], pose, shape and camera where the corrections begin.
            key: for dropout; None leaves it out.

        Returns:
            pose: [1 + steps, B, K, 6]; shape: [1 + steps, B, S]; camera: [1 + steps, B, 3].
        """
        feature, act = jnp.mean(tokens.astype(jnp.float32), 1), ACTIVATIONS[self.activation]
        first = self._relative(mean) if self.relative else mean
        estimate = jnp.broadcast_to(first, (len(feature), sum(self.sizes)))
        found = [estimate]
        for step in range(self.steps):
            x = jnp.concatenate([feature, estimate], -1)
            for number, layer in enumerate((self.first, self.second)):
                x = blocks.keep_batch_split(self._drop(act(layer(x)), key, 2 * step + number))
            x = x.astype(jnp.float32)
            estimate = estimate + jnp.concatenate([getattr(self, n)(x) for n in OUTPUTS], -1)
            found.append(estimate)
        pose, shape, camera = jnp.split(jnp.stack(found), np.cumsum(self.sizes)[:2], -1)
        if self.relative:
            scale = mean[-3]
            camera = jnp.concatenate(
                [scale * jnp.exp(camera[..., :1]), camera[..., 1:] / scale], -1
            )
        return {"pose": pose.reshape(*pose.shape[:2], -1, 6), "shape": shape, "camera": camera}

    def _relative(self, mean: jax.Array) -> jax.Array:
        """Returns the mean in the head's parameters, in which the camera is relative to it.

        They are pose, shape, log(scale / mean scale), which is 0 at the mean, and mean scale times
        shift.
        """
        rest, scale, shift = jnp.split(mean, [sum(self.sizes[:2]), sum(self.sizes[:2]) + 1])
        return jnp.concatenate([rest, jnp.zeros(1), scale * shift])

    def _drop(self, x: jax.Array, key: jax.Array | None, number: int) -> jax.Array:
        if key is None or not self.dropout:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - self.dropout, x.shape)
        return jnp.where(kept, x / (1 - self.dropout), 0)


# What `croco.AXES` is for its networks. Nothing is split over heads or hidden units: what the
# layers tell each other is so little that exchanging it would take longer.
AXES = (
    (r"head/(first|second)/kernel$", (None, "width")),
    (r"head/pose/kernel$", ("width", None)),
)
