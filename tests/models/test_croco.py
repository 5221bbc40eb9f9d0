"""The network against outputs of the reference implementation, and against its own algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from crocohuman_jax import models
from crocohuman_jax.models import (
    attention,
    croco,
    flops,
    layers,
    parameters,
    pixels,
    position_embeddings,
)

TINY = {"encoder": croco.Shape(96, 3, 4), "decoder": croco.Shape(64, 2, 4)}
GRID, PATCH = (4, 4), 16


def build(position="cosine", image=(64, 64), **compute):
    return models.functional(
        lambda key: croco.CroCo(
            **TINY,
            image=image,
            patch=PATCH,
            position=position,
            compute=croco.Compute(**compute),
            key=key,
        )
    )


def inputs(oracle):
    """Returns normalised patches of both pictures, visible and hidden indices."""
    patches = [
        pixels.patchify(jnp.moveaxis(oracle[name], 1, -1), PATCH) for name in ("img1", "img2")
    ]
    mask = oracle["mask"]
    visible = np.stack([np.flatnonzero(~m) for m in mask])
    hidden = np.stack([np.flatnonzero(m) for m in mask])
    return *patches, visible, hidden


def read(oracles, name):
    params = reference.from_torch(reference.read_torch(oracles / f"{name}.pth")["model"], (4, 4))
    return params, dict(np.load(oracles / f"{name}.npz"))


CASES = [("croco_v1_tiny", "cosine"), ("croco_v2_tiny", "rope100")]


@pytest.mark.parametrize("name, position", CASES)
@pytest.mark.parametrize("unroll", [1, 3])
def test_every_stage_equals_the_reference(oracles, name, position, unroll):
    params, oracle = read(oracles, name)
    _, bind = build(position, unroll=unroll)
    target, other, visible, _ = inputs(oracle)

    @jax.jit
    def stages(params):
        model = bind(params)
        out = {"patch_embed_img1": model.encoder.embed(target)}
        seen, blocks1 = model.encoder(target, visible, collect=True)
        memory, blocks2 = model.encoder(other, collect=True)
        full = model.encoder(target)
        decoded, blocks = model.decoder(seen, memory, visible, collect=True)
        for i in range(len(blocks1) - 1):
            out |= {f"enc_block{i}_img1": blocks1[i], f"enc_block{i}_img2": blocks2[i]}
        out |= {"enc_block2_img1": seen, "enc_block2_img2": memory}
        out |= {"enc_block_last_prenorm_img1": blocks1[-1], "enc_feat_img1_full": full}
        out |= {"dec_block0": blocks[0], "dec_block_last_prenorm": blocks[-1]}
        out |= {"dec_block1": decoded, "dec_feat_nomask": model.decoder(full, memory)}
        out |= {"prediction": model.head(decoded)}
        out["prediction_from_stages"] = model(target, other, visible, None)
        out["unpatchify_prediction"] = jnp.moveaxis(
            pixels.unpatchify(out["prediction"], PATCH, GRID), -1, 1
        )
        return out

    for key, value in stages(params).items():
        np.testing.assert_allclose(value, oracle[key], atol=5e-5, rtol=0, err_msg=key)


@pytest.mark.parametrize("name, position", CASES)
def test_a_hidden_patch_is_predicted_alike_alone_or_among_all(oracles, name, position):
    params, oracle = read(oracles, name)
    _, bind = build(position)
    target, other, visible, hidden = inputs(oracle)
    some = jax.jit(lambda p: bind(p)(target, other, visible, hidden))(params)
    wanted = np.take_along_axis(oracle["prediction"], hidden[..., None], 1)
    np.testing.assert_allclose(some, wanted, atol=5e-5, rtol=0)


def test_the_cosine_tables_equal_the_reference(oracles):
    oracle = np.load(oracles / "croco_v1_tiny.npz")
    for key, width in (("enc_pos_embed", 96), ("dec_pos_embed", 64)):
        np.testing.assert_allclose(position_embeddings.cosine(GRID, width), oracle[key], atol=1e-6)


def test_the_cosine_table_puts_the_column_first():
    table = position_embeddings.cosine((3, 5), 64).reshape(3, 5, 2, 32)
    assert (table[:, :, 0] == table[:1, :, 0]).all()  # the first half ignores the row
    assert (table[:, :, 1] == table[:, :1, 1]).all()  # the second half ignores the column
    origin = table[0, 0].reshape(-1)
    np.testing.assert_array_equal(origin, np.tile(np.repeat([0.0, 1.0], 16), 2))


def test_rotary_positions_equal_the_reference(oracles):
    oracle = dict(np.load(oracles / "rope_posembed_unit.npz"))
    tokens = next(v for k, v in oracle.items() if v.shape == (2, 3, 15, 24) and "token" in k)
    where = next(v for k, v in oracle.items() if v.shape == (2, 15, 2))
    rows, columns = where.max((0, 1)) + 1
    index = where[..., 0] * columns + where[..., 1]
    for base in (100, 10000):
        wanted = next(v for k, v in oracle.items() if k.endswith(str(base)) and v.ndim == 4)
        table = position_embeddings.rotary((int(rows), int(columns)), 24, float(base))[index]
        turned = position_embeddings.rotate(jnp.swapaxes(tokens, 1, 2), jnp.asarray(table))
        np.testing.assert_allclose(jnp.swapaxes(turned, 1, 2), wanted, atol=1e-5)


def test_rotary_logits_depend_on_the_offset_only():
    table = position_embeddings.rotary((6, 6), 16, 100.0).reshape(6, 6, 2, 2, 4)
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 16))

    def logit(at, to):
        turned = [
            position_embeddings.rotate(t, jnp.asarray(table[p])[None])
            for t, p in ((q, at), (k, to))
        ]
        return float((turned[0] * turned[1]).sum())

    assert logit((0, 1), (2, 0)) == pytest.approx(logit((3, 4), (5, 3)), abs=1e-5)
    np.testing.assert_array_equal(position_embeddings.rotate(q, jnp.asarray(table[0, 0])[None]), q)


@pytest.mark.parametrize("unroll, remat", [(1, "dots"), (1, "full"), (2, "none"), (12, "none")])
def test_switches_of_speed_do_not_change_gradients(unroll, remat):
    init, plain = build()
    _, switched = build(unroll=unroll, remat=remat)
    params = init(jax.random.key(0))
    target, other = jax.random.normal(jax.random.key(1), (2, 2, 16, 768))
    visible = jnp.array([[0, 3, 9], [2, 4, 15]])

    def loss(params, bind):
        return (bind(params)(target, other, visible, None) ** 2).mean()

    gradients = [jax.jit(jax.grad(lambda p, b=b: loss(p, b)))(params) for b in (plain, switched)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), *gradients)


def test_hidden_pixels_are_never_looked_at_and_the_reference_is():
    init, bind = build()
    params = init(jax.random.key(0))
    target, other = jax.random.normal(jax.random.key(1), (2, 1, 16, 768))
    visible = jnp.array([[1, 5, 6]])
    changed = target.at[:, 0].add(7.0)  # patch 0 is hidden
    out = [bind(params)(t, other, visible, None) for t in (target, changed)]
    np.testing.assert_array_equal(*out)
    assert np.abs(bind(params)(target, other + 1, visible, None) - out[0]).max() > 1e-3


@pytest.mark.parametrize(
    "encoder, decoder, count",
    [
        ((768, 12, 12), (512, 8, 16), 120_076_288),
        ((768, 12, 12), (768, 12, 12), 200_269_824),
        ((1024, 24, 16), (768, 12, 12), 417_918_720),
    ],
)
def test_parameter_counts_are_the_published_ones(encoder, decoder, count):
    init, _ = models.functional(
        lambda key: croco.CroCo(
            croco.Shape(*encoder),
            croco.Shape(*decoder),
            image=(224, 224),
            patch=16,
            position="cosine",
            compute=croco.Compute(),
            key=key,
        )
    )
    shapes = jax.eval_shape(init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_initial_weights_are_as_specified_and_of_each_part_alone():
    init, _ = build()
    params = init(jax.random.key(3))
    other, _ = models.functional(
        lambda key: croco.CroCo(
            TINY["encoder"],
            croco.Shape(32, 1, 2),
            image=(64, 64),
            patch=PATCH,
            position="cosine",
            compute=croco.Compute(),
            key=key,
        )
    )
    jax.tree.map(
        np.testing.assert_array_equal, params["encoder"], other(jax.random.key(3))["encoder"]
    )
    for path, leaf in parameters.named_leaves(params):
        if path == "encoder/embed/bias":
            assert 0 < np.abs(leaf).max() <= 1 / np.sqrt(768)
        elif path.endswith("bias"):
            assert not np.any(leaf)
        elif path.endswith("scale"):
            assert (leaf == 1).all()
    qkv = params["encoder"]["blocks"]["attention"]["qkv"]["kernel"]
    limit = np.sqrt(6 / (96 + 3 * 96))
    assert 0.98 * limit < np.abs(qkv).max() <= limit
    assert not np.array_equal(qkv[0], qkv[1])
    assert np.std(params["decoder"]["mask_token"]) == pytest.approx(0.02, rel=0.3)


def test_rectangular_pictures_pass():
    init, bind = build(image=(64, 32))
    patches = jnp.ones((1, 8, 768))
    out = bind(init(jax.random.key(0)))(patches, patches, jnp.array([[0, 7]]), None)
    assert out.shape == (1, 8, 768)


def test_bfloat16_stays_near_float32_and_keeps_float32_parameters():
    init, plain = build()
    _, half = build(dtype="bfloat16")
    params = init(jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    target, other = jax.random.normal(jax.random.key(1), (2, 2, 16, 768))
    visible = jnp.array([[0, 3, 9], [2, 4, 15]])
    a, b = (
        jax.jit(lambda p, f=f: f(p)(target, other, visible, None))(params) for f in (plain, half)
    )
    assert b.dtype == jnp.bfloat16
    assert np.abs(a - b).max() < 0.1 * np.abs(a).max()


def test_take_undoes_place():
    tokens = jax.random.normal(jax.random.key(0), (2, 3, 5))
    index = jnp.array([[0, 2, 6], [1, 3, 4]])
    placed = layers.place(tokens, index, jnp.full(5, 9.0), 7)
    np.testing.assert_array_equal(layers.take(placed, index), tokens)
    assert (np.asarray(placed) == 9.0).all(-1).sum() == 2 * 4


def test_counted_operations_follow_the_published_table():
    base = {"encoder": croco.Shape(768, 12, 12), "decoder": croco.Shape(512, 8, 16)}
    count = flops.completion(**base, patches=196, visible=49, wanted=196, pixels=768)
    assert count == pytest.approx(175.0e9, rel=0.003)
    count = flops.completion(**base, patches=196, visible=20, wanted=176, pixels=768)
    assert count == pytest.approx(159.29e9, rel=0.001)


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="225x224 picture .* 16x16 patches.*224x224"):
        croco.patch_grid((225, 224), 16)
    with pytest.raises(ValueError, match="Width 96 does not divide into 5 heads"):
        croco.check(croco.Shape(96, 1, 5), "cosine", croco.Compute())
    with pytest.raises(ValueError, match="Unknown positions 'learned'. Known: cosine, rope100"):
        build("learned")
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        position_embeddings.cosine((2, 2), 6)
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        position_embeddings.rotary((2, 2), 6, 100.0)
    for option, message in (
        ({"remat": "some"}, "Unknown config.model.remat 'some'. Known: none, dots, full"),
        ({"dtype": "bf16"}, "Unknown config.model.dtype 'bf16'. Known: auto, float32, bfloat16"),
        ({"attention": "flash"}, "Unknown config.model.attention 'flash'. Known: auto, xla, cudnn"),
        ({"attention": "cudnn"}, "'cudnn' cannot run here: the device is a cpu"),
        ({"unroll": 0}, "config.model.unroll is 0. Set it to a whole number of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            build(**option)


def test_attention_names_what_it_cannot_do():
    heads = jnp.ones((1, 4, 2, 8))
    with pytest.raises(ValueError, match="Unknown attention 'flash'. Known: auto, xla, cudnn"):
        attention.attend(heads, heads, heads, "flash")
    with pytest.raises(ValueError, match="'cudnn' cannot run here: the device is a cpu"):
        attention.attend(heads, heads, heads, "cudnn")
