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

    In each step two hidden layers take the picture's feature and the estimate, and three output
    layers give the corrections of pose, shape and camera, which are added to the estimate.

    Args:
        features: D, width of the tokens.
        joints: K, joints of the body model; each has six numbers, see `rotations.from_6d`.
        shapes: S, number of betas.
        hidden: width of the two hidden layers.
        steps: number of corrections.
        dropout: share of values that training drops after each of the two hidden layers.
        activation: function after each of the two hidden layers: "none", "relu" or "gelu".
        camera: how the head represents the camera. "relative": log(scale / mean scale), and the
            shift in units of the picture, so that the scale cannot change sign and corrections have
            the same size for bodies and hands. "direct": scale and shift themselves, as in SPIN.
        dtype: dtype of the hidden layers' products.
        rngs: random keys.

    Raises:
        ValueError: an unknown activation or camera, or a number out of range.
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
        """Returns the estimates of all steps, starting with the mean itself.

        Args:
            tokens: [B, N, D]; their mean over N is the picture's feature.
            mean: [6 K + S + 3], pose, shape and camera at which the corrections start.
            key: random key for dropout; None for no dropout.

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
        """Returns the mean estimate with its camera in the relative form.

        That is pose, shape, log(scale / mean scale), which is 0 here, and mean scale times shift.
        """
        rest, scale, shift = jnp.split(mean, [sum(self.sizes[:2]), sum(self.sizes[:2]) + 1])
        return jnp.concatenate([rest, jnp.zeros(1), scale * shift])

    def _drop(self, x: jax.Array, key: jax.Array | None, number: int) -> jax.Array:
        if key is None or not self.dropout:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - self.dropout, x.shape)
        return jnp.where(kept, x / (1 - self.dropout), 0)


# Meanings of this head's axes, as in `croco.AXES`. No axis is split over heads or hidden units,
# because these layers are so small that the exchange between devices would take longer.
AXES = (
    (r"head/(first|second)/kernel$", (None, "width")),
    (r"head/pose/kernel$", ("width", None)),
)
