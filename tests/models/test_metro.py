"""The mesh transformer against its formulas, written again in numpy, and on what it can learn."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from crocohuman_jax import models
from crocohuman_jax.models import flops, layers, parameters
from crocohuman_jax.models.heads import metro

TINY = {"hidden": (32, 16), "outs": (16, 3), "depth": 2, "feedforward": 24}
ONE = {"hidden": (32,), "outs": (3,)}


def build(*, width=12, patches=9, joints=4, sizes=(10, 20), **options):
    rng = np.random.default_rng(0)
    return models.functional(
        lambda key: metro.Metro(
            width,
            patches,
            joints=rng.normal(size=(joints, 3)),
            coarse=rng.normal(size=(sizes[0], 3)),
            sizes=sizes,
            rngs=nnx.Rngs(params=key),
            **(TINY | options),
        )
    )


def draw(batch=2, patches=9, width=12):
    return jax.random.normal(jax.random.key(1), (batch, patches, width))


def drawn(init):
    """Returns parameters of numpy's drawing, which are quicker to have than the network's own."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(init, jax.random.key(0))

    def fill(path, leaf):
        one = path[-1].key == "scale"
        return jnp.asarray(one + 0.1 * rng.normal(size=leaf.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


@pytest.mark.parametrize("joints, sizes", [(14, (431, 1723, 6890)), (21, (195, 778))])
def test_bodies_and_hands_have_their_shapes(joints, sizes):
    init, bind = build(width=768, patches=196, joints=joints, sizes=sizes)

    def call(key):
        return bind(init(key))(jnp.zeros((2, 196, 768)))

    out = jax.eval_shape(call, jax.random.key(0))
    assert out["joints"].shape == (2, joints, 3)
    assert [v.shape for v in out["vertices"]] == [(2, size, 3) for size in sizes]
    assert out["camera"].shape == (2, 3)


def test_the_paths_of_parameters_can_be_read():
    params = jax.eval_shape(build(feature_width=16)[0], jax.random.key(0))
    assert set(params) == {
        *("feature", "mix", "stages0", "stages1", "upsample0"),
        *("camera1", "camera2", "camera3"),
    }
    assert params["stages0"]["blocks"]["attention"]["qkv"]["kernel"].shape == (2, 32, 3, 4, 8)
    assert params["stages0"]["embed"]["kernel"].shape == (16 + 3, 32)


def test_the_number_of_parameters_is_the_formula():
    hidden, outs, tokens, inside = (1024, 256, 128), (512, 128, 3), 14 + 431, 3072
    init, _ = build(
        width=768,
        patches=196,
        joints=14,
        sizes=(431, 1723, 6890),
        hidden=hidden,
        outs=outs,
        depth=4,
        feedforward=inside,
    )
    params = jax.eval_shape(init, jax.random.key(0))
    wide, wider = 14 * 128, 54 * 128  # columns beyond the vertices let devices split the kernels
    expected = (196 + 1) * tokens + 431 * wide + 1723 + 1723 * wider + 6890
    expected += 4 + 432 * 250 + 251 * 3
    fan_in = 771
    for h, out in zip(hidden, outs, strict=True):
        block = 4 * h * h + 4 * h + 2 * inside * h + inside + h + 4 * h
        expected += fan_in * h + h + tokens * h + 4 * block
        expected += (h + 1) * out + (fan_in + 1) * out
        fan_in = out
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == expected


def test_stages_start_normal_and_the_camera_at_its_bias():
    one = {"hidden": (256,), "outs": (3,), "camera": (0.5, 0.1, 0.2)}
    params = jax.jit(build(sizes=(40, 50), **one)[0])(jax.random.key(0))
    stage = params["stages0"]
    for kernel in (stage["position"], stage["blocks"]["attention"]["qkv"]["kernel"]):
        assert abs(float(kernel.std()) - 0.02) < 0.001
    assert not stage["embed"]["bias"].any()
    assert params["camera3"]["bias"].tolist() == pytest.approx([0.5, 0.1, 0.2])
    assert float(jnp.abs(params["upsample0"]["kernel"]).max()) <= 1 / math.sqrt(40)


def test_a_block_is_the_formula():
    init, bind = models.functional(
        lambda key: metro.Block(
            16, 4, 24, dropout=0.1, dtype=jnp.float32, rngs=nnx.Rngs(params=key)
        )
    )
    params = jax.tree.map(lambda leaf: 3 * np.asarray(leaf), drawn(init))
    x = np.random.default_rng(1).normal(size=(2, 5, 16)).astype(np.float32)

    def normal(x, p):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]

    attention, mlp = params["attention"], params["mlp"]
    kernel = attention["qkv"]["kernel"].reshape(16, 3, 16)
    q, k, v = (x @ kernel[:, i] + attention["qkv"]["bias"].reshape(3, 16)[i] for i in range(3))
    heads = []
    for head in range(4):
        at = slice(4 * head, 4 * head + 4)
        weights = np.exp(q[..., at] @ k[..., at].swapaxes(1, 2) / 2)  # the root of 4 is 2
        heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., at])
    out = np.concatenate(heads, -1) @ attention["out"]["kernel"] + attention["out"]["bias"]
    first = normal(x + out, params["norm1"])
    up = first @ mlp["up"]["kernel"] + mlp["up"]["bias"]
    up = up * (1 + np.vectorize(math.erf)(up / math.sqrt(2))) / 2
    down = up @ mlp["down"]["kernel"] + mlp["down"]["bias"]
    expected = normal(first + down, params["norm2"])
    np.testing.assert_allclose(bind(params)(x), expected, rtol=2e-5, atol=2e-5)


def test_the_network_around_the_stages_is_the_formula(monkeypatch):
    joints, coarse = np.random.default_rng(0).normal(size=(2, 4, 3))
    monkeypatch.setattr(metro.Stage, "__call__", lambda self, x, key=None: x[..., :3] + x[..., 3:6])
    init, bind = models.functional(
        lambda key: metro.Metro(
            5, 6, joints=joints, coarse=coarse, sizes=(4, 7), rngs=nnx.Rngs(params=key), **TINY
        )
    )
    monkeypatch.setattr(metro, "masks", lambda key, batch, counts, share: hide)
    params = jax.tree.map(np.asarray, drawn(init))
    tokens = np.asarray(draw(2, 6, 5))
    hide = np.zeros((2, 8), bool)
    hide[0, [1, 6]] = True
    # One stage only, so that what comes in can be seen in what goes out.
    model = bind(params)
    model.stages = 1
    mixed = np.einsum("bnd,nt->btd", tokens, params["mix"]["kernel"])
    mixed += params["mix"]["bias"][:, None]
    places = np.concatenate([joints, coarse]) + mixed[..., :3]
    for key, expected in (
        (None, places),
        (jax.random.key(0), np.where(hide[..., None], 0.02, places)),
    ):
        out = model(tokens, key=key)
        close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
        close(out["joints"], expected[:, :4])
        close(out["vertices"][0], expected[:, 4:])
        up = params["upsample0"]
        read = up["kernel"][:, : len(up["bias"])]  # of 128 columns
        fine = np.einsum("bva,vw->bwa", expected[:, 4:], read) + up["bias"][:, None]
        close(out["vertices"][1], fine)
        x = (expected[:, 4:] @ params["camera1"]["kernel"] + params["camera1"]["bias"])[..., 0]
        for name in ("camera2", "camera3"):
            x = x @ params[name]["kernel"] + params[name]["bias"]
        close(out["camera"], x)


def test_it_is_certain_without_a_key_and_not_with_one():
    init, bind = build(**ONE)
    params, tokens = drawn(init), draw()
    call = jax.jit(lambda params, key: bind(params)(tokens, key=key)["vertices"][-1])
    assert (call(params, None) == call(params, None)).all()
    one, other = call(params, jax.random.key(0)), call(params, jax.random.key(1))
    assert (one == call(params, jax.random.key(0))).all()
    assert not (one == other).any()


def test_masks_have_the_right_counts_and_are_drawn_apart():
    found = np.asarray(metro.masks(jax.random.key(0), 4000, (14, 431), 0.3))
    joints, vertices = found[:, :14].sum(1), found[:, 14:].sum(1)
    assert set(joints) == set(range(5))  # 0.3 * 14 = 4.2
    # The share is uniform: each count but the last is as likely as any other.
    assert np.bincount(joints)[:4] / 4000 == pytest.approx(np.full(4, 1 / 4.2), abs=0.03)
    assert vertices.max() == 129 and vertices.min() == 0  # 0.3 * 431 = 129.3
    assert vertices.mean() == pytest.approx(0.15 * 431 - 0.5, abs=2)
    assert abs(np.corrcoef(joints, vertices)[0, 1]) < 0.05
    assert found[:, 14:].mean(0) == pytest.approx(np.full(431, 0.149), abs=0.03)
    assert not metro.masks(jax.random.key(0), 8, (14, 431), 0.0).any()


def test_dropout_keeps_the_mean():
    x = jnp.ones((100, 100))
    out = metro.drop(x, 0.1, jax.random.key(0))
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.9)}
    assert float(out.mean()) == pytest.approx(1, abs=0.02)
    assert metro.drop(x, 0.1, None) is x and metro.drop(x, 0.0, jax.random.key(0)) is x


def test_every_gradient_is_finite_and_there():
    init, bind = build(feature_width=16)
    tokens = draw()

    def loss(params):
        out = bind(params)(tokens, key=jax.random.key(0))
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(out))

    for name, leaf in parameters.named_leaves(jax.jit(jax.grad(loss))(drawn(init))):
        assert np.isfinite(leaf).all(), name
        assert np.abs(leaf).max() > 0, name


def test_it_learns_a_few_meshes_by_heart():
    init, bind = build(dropout=0.0, mask_share=0.0, **ONE)
    tokens, rng = draw(4), np.random.default_rng(0)
    goal = {
        "joints": rng.normal(size=(4, 4, 3)),
        "vertices": [rng.normal(size=(4, size, 3)) for size in (10, 20)],
        "camera": rng.normal(size=(4, 3)),
    }
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params, state):
        def loss(params):
            off = jax.tree.map(lambda a, b: ((a - b) ** 2).mean(), bind(params)(tokens), goal)
            return sum(jax.tree.leaves(off))

        value, gradient = jax.value_and_grad(loss)(params)
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, change), state, value

    params = drawn(init)
    state, values = optimizer.init(params), []
    for _ in range(150):
        params, state, value = step(params, state)
        values.append(float(value))
    assert values[-1] < 0.1 * values[0]


def test_bfloat16_is_close_and_gives_float32():
    init, bind = build()
    _, bind16 = build(dtype=jnp.bfloat16)
    params, tokens = drawn(init), draw()
    exact, rounded = bind(params)(tokens), bind16(params)(tokens)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(rounded), strict=True):
        assert b.dtype == jnp.float32
        assert float(jnp.abs(a - b).max()) < 0.03 * float(jnp.abs(a).max())


def test_operations_are_those_of_the_compiled_products(monkeypatch):
    monkeypatch.setattr(layers, "gelu_product", lambda x, kernel: jax.nn.gelu(x) @ kernel)
    sizes = {"hidden": (256, 128), "outs": (64, 3), "depth": 1, "feedforward": 256}
    init, bind = build(width=64, patches=49, joints=14, sizes=(50, 100), feature_width=96, **sizes)
    params = drawn(init)
    compiled = jax.jit(lambda p, x: bind(p)(x)).lower(params, draw(1, 49, 64)).compile()
    found = flops.metro(64, 49, joints=14, sizes=(50, 100), feature_width=96, **sizes)
    assert found / 3 == pytest.approx(compiled.cost_analysis()["flops"], rel=0.1)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"outs": (16, 4)}, "the last of outs being 3"),
        ({"outs": (3,)}, "do not fit"),
        ({"hidden": (32, 18)}, "18 does not divide into 4 heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_template_that_does_not_fit_is_refused():
    options = {"sizes": (10, 20), "rngs": nnx.Rngs(0), **TINY}
    with pytest.raises(ValueError, match="9 coarse vertices"):
        metro.Metro(12, 9, joints=np.zeros((4, 3)), coarse=np.zeros((9, 3)), **options)
    with pytest.raises(ValueError, match=r"joints must be \[n, 3\], not \(4,\)"):
        metro.Metro(12, 9, joints=np.zeros(4), coarse=np.zeros((10, 3)), **options)
