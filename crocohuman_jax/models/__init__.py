"""Networks as flax.nnx modules, built once and then used as functions of their parameters."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def functional(
    build: Callable[[jax.Array], nnx.Module],
) -> tuple[Callable[[jax.Array], dict], Callable[[Any], nnx.Module]]:
    """Returns functions that initialise a module's parameters and bind parameters to the module.

    Args:
        build: makes the module from a random key.

    Returns:
        init: random key -> parameters, a plain nested dict of float32 arrays.
        bind: parameters -> the module with these parameters in place, to be called inside jit.
    """
    graph, abstract = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))), nnx.Param)

    def init(key):
        return nnx.to_pure_dict(nnx.state(build(key), nnx.Param))

    def bind(params):
        state = jax.tree.map(lambda leaf: leaf, abstract)  # a copy: replacing works in place
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graph, state)

    return init, bind


def bound(part: Callable[..., nnx.Module], params: Any, **sizes: Any) -> nnx.Module:
    """Returns one module of a network with its parameters in place, to be called inside jit.

    Args:
        part: class of the module, as `croco.Encoder`.
        params: the module's own parameters, a plain nested dict.
        sizes: keyword arguments of the class, except `rngs`.
    """
    _, bind = functional(lambda key: part(rngs=nnx.Rngs(params=key), **sizes))
    return bind(params)
