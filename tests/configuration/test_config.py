"""Options, durations and differences of configs; every config builds."""

import pathlib

import ml_collections
import pytest

from configs import pretrain, variants
from crocohuman_jax.configuration import options as options_lib
from crocohuman_jax.configuration import registry


def test_options_take_the_type_of_their_defaults():
    options = options_lib.parse("large,size=3,debug", variant="base", size=1, debug=False)
    assert vars(options) == {"variant": "large", "size": 3, "debug": True}
    assert options_lib.parse(None, variant="base").variant == "base"


@pytest.mark.parametrize(
    "text, message",
    [
        ("sise=3", "Unknown config option 'sise' in 'sise=3'. Known: variant, size, debug"),
        ("size=big", "'size' must be of type int, not 'big'"),
        ("debug=yes", "'debug' must be true or false, not 'yes'"),
    ],
)
def test_misspelt_options_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        options_lib.parse(text, variant="base", size=1, debug=False)


def test_durations_are_steps_epochs_or_shares():
    scale = {"epoch": 1000, "batch_size": 10}
    assert options_lib.duration("2000", **scale) == 2000
    assert options_lib.duration(7, **scale) == 7
    assert options_lib.duration("3ep", **scale) == 300
    assert options_lib.duration("2.5%", total=400, **scale) == 10
    for text in ("many", "-3", "5%", "3 epochs"):
        with pytest.raises(ValueError, match=f"Duration '{text}' must have the form '2000'"):
            options_lib.duration(text, **scale)


def test_differences_are_named_by_their_path():
    old = {"a": {"b": 1, "c": (1, 2)}, "d": 0}
    assert options_lib.difference(old, {"a": {"b": 1, "c": [1, 2]}, "d": 0}) == []
    assert options_lib.difference(old, {"a": {"b": 2}, "d": 0}) == [
        "a.b: 1 -> 2",
        "a.c: [1, 2] -> '(absent)'",
    ]
    assert options_lib.without(old, ("a.c", "d")) == {"a.b": 1}


def test_sizes_are_a_side_or_two():
    assert options_lib.size("224") == (224, 224)
    assert options_lib.size("256x192") == (256, 192)
    with pytest.raises(ValueError, match="not '1x2x3'"):
        options_lib.size("1x2x3")


def test_a_config_survives_its_file(tmp_path):
    options_lib.save(pretrain.get_config().to_dict(), tmp_path / "c.json")
    assert not options_lib.difference(
        pretrain.get_config().to_dict(), options_lib.load(tmp_path / "c.json")
    )
    with pytest.raises(ValueError, match="is not the workdir of a run"):
        options_lib.load(tmp_path / "d" / "c.json")


def test_configs_of_earlier_versions_say_what_these_did(tmp_path):
    fixed = {"mode": "human", "ratio": 0.75, "rule": "fixed", "visible": 0, "buckets": 4}
    before = {
        "completion": {"task": "completion", "data": {"mask": fixed}},
        "mesh": {
            "task": "mesh",
            "model": {},
            "head": {"kind": "iterative"},
            "loss": {},
            "data": {},
        },
    }
    found = {}
    for name, saved in before.items():
        options_lib.save({"config": saved}, tmp_path / "c.json")
        found[name] = options_lib.flatten(options_lib.load(tmp_path / "c.json")["config"])
    mask = {name: value for name, value in found["completion"].items() if "mask" in name}
    assert mask.pop("data.mask.multiple") == 1 and "data.mask.buckets" not in mask
    assert found["mesh"]["head.camera"] == "direct" and found["mesh"]["loss.frame"] == "camera"
    assert found["mesh"]["model.keep_cls"] is False
    # What a config says itself stays.
    newer = {"kind": "iterative", "camera": "relative"}
    options_lib.save({"config": before["mesh"] | {"head": newer}}, tmp_path / "c.json")
    assert options_lib.load(tmp_path / "c.json")["config"]["head"] == newer


@pytest.mark.parametrize("arg", [*variants.ENCODERS, "base,decoder=base,position=rope100", "debug"])
def test_every_variant_builds_and_is_locked(arg):
    built = pretrain.get_config(arg)
    task = registry.find("tasks", built.task).make(built)
    assert callable(task.loss)
    with pytest.raises(AttributeError, match="widht"):
        built.model.widht = 3


def test_a_sweep_changes_what_there_is():
    for overrides in pretrain.sweep():
        built = pretrain.get_config()
        built.update_from_flattened_dict(overrides)
        assert isinstance(built, ml_collections.ConfigDict)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(ValueError, match="Unknown decoder 'big'. Known: micro, tiny, small, base"):
        pretrain.get_config("base,decoder=big")
    with pytest.raises(
        ValueError, match="Unknown name 'x' in tasks. Known: completion, mesh. To add"
    ):
        registry.find("tasks", "x")


def test_every_dataset_states_its_layout_and_options():
    folder = pathlib.Path(registry.find("data.datasets", "video").__file__).parent
    for path in folder.glob("[a-z]*.py"):
        module = registry.find("data.datasets", path.stem)
        assert isinstance(module.LAYOUT, str) and isinstance(module.OPTIONS, dict)
        assert callable(module.plan) and callable(module.read)
