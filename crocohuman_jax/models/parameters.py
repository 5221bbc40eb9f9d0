"""Names the leaves of nested dicts by their paths, as encoder/blocks/mlp/up/kernel."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """Returns the (path, leaf) pairs of `tree`; the keys of a path are joined by slashes."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]


def map_named(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Returns `tree` with each leaf replaced by `function(path, leaf, *rest_leaves)`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, *leaves: function(
            jax.tree_util.keystr(path, simple=True, separator="/"), *leaves
        ),
        tree,
        *rest,
    )


def fold_name(key: jax.Array, name: str) -> jax.Array:
    """Returns the random key of the part called `name`; it does not depend on other parts."""
    digest = hashlib.sha256(name.encode()).digest()
    return jax.random.fold_in(key, int.from_bytes(digest[:4], "little"))


def parameter_table(params: Any) -> str:
    """Returns a table with one line per leaf (path, shape, number of values) and the total."""
    rows = [(path, str(tuple(leaf.shape)), leaf.size) for path, leaf in named_leaves(params)]
    width = max(len(path) for path, _, _ in rows)
    lines = [f"{path:<{width}}  {shape:<24} {size:>13,}" for path, shape, size in rows]
    total = sum(size for _, _, size in rows)
    return "\n".join([*lines, f"{'total':<{width}}  {'':<24} {total:>13,}"])
