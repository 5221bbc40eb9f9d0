"""Initializes parameters from another run or a shared model instead of at random."""

import logging
import pathlib

import jax
import jax.numpy as jnp

from crocohuman_jax.training import checkpoint
from crocohuman_jax.weights.sharing import model_folder

log = logging.getLogger(__name__)


def graft(state, config):
    """Returns the train state with `config.init_parts` loaded from `config.init_from`.

    Raises:
        ValueError: `init_parts` is empty or names an unknown part, or the source does not fit.
    """
    source, parts = pathlib.Path(config.init_from), tuple(config.init_parts)
    unknown = [part for part in parts if part not in state["params"]]
    if unknown or not parts:
        raise ValueError(
            f"config.init_parts={parts} does not name parts of this model. "
            f"Known: {', '.join(state['params'])}."
        )
    wanted = {part: state["params"][part] for part in parts}
    try:
        if model_folder.holds_model(source):
            grid = tuple(side // config.model.patch for side in config.model.image)
            table = "encoder" in wanted and "class_token" in wanted["encoder"]
            position = "table" if table else config.model.position
            found = model_folder.load_params(source, wanted, grid, position)
        else:
            found = checkpoint.load_params(source, wanted)
    except ValueError as error:
        raise ValueError(f"config.init_from={config.init_from!r}: {error}") from error
    params = state["params"] | found
    log.info("Loaded %s from %s.", ", ".join(parts), source)
    copies = {"ema": jax.tree.map(jnp.copy, params)} if config.ema else {}
    return state | {"params": params} | copies
