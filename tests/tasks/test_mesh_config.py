"""The configs of mesh recovery: what they build, and what they refuse."""

import pytest
import test_mesh_task

from configs import mesh, variants
from crocohuman_jax.data.streams import labelled_people

BUILT = [*variants.ENCODERS, "tiny,head=metro,body=open_hand_right", "debug,head=metro"]
BUILT += [f"micro,second={second}" for second in labelled_people.SECONDS[1:]]
BUILT += ["base,decoder=base,position=rope100,second=view,body=open_hand_right,size=112,batch=16"]


@pytest.mark.parametrize("arg", BUILT)
def test_every_config_builds_a_task_and_is_locked(arg):
    built = mesh.get_config(arg)
    task = test_mesh_task.task_of(built)
    two = task.loss.__self__.decoder is not None
    assert two == ("second" in arg) == ("decoder" in built.init_parts)
    with pytest.raises(AttributeError, match="widht"):
        built.model.widht = 3


def test_mixtures_name_folders_and_shares():
    for name, parts in mesh.MIXTURES.items():
        data = mesh.get_config(f"micro,data={name},root=here").data
        assert data.folders == ",".join(f"here/{part}" for part, _ in parts)
        assert len(data.weights) in (0, len(parts))
        assert not data.weights or sum(data.weights) == pytest.approx(1)


def test_metro_weighs_its_terms_as_its_code_does_for_bodies_and_for_hands():
    for body, weights in (("open_body", (100, 1000, 100)), ("open_hand_right", (1, 1, 1))):
        built = mesh.get_config(f"base,head=metro,body={body}")
        terms = dict(zip(("keypoints_2d", "keypoints_3d", "vertices"), weights, strict=True))
        assert built.loss.to_dict() == {"total": 1.0} | terms


def test_sweeps_change_what_there_is():
    built = mesh.get_config()
    for overrides, fraction in zip(mesh.sweep(), (0.1, 0.25, 0.5, 0.75, 1.0), strict=True):
        built.update_from_flattened_dict(overrides)
        assert built.data.fraction == fraction


@pytest.mark.parametrize(
    "arg, message",
    [
        ("gigantic", "Unknown variant 'gigantic'. Known: micro, tiny, small, base, large, huge"),
        ("base,head=smplify", "Unknown head 'smplify'. Known: iterative, metro"),
        ("base,decoder=big", "Unknown decoder 'big'. Known: micro, tiny, small, base"),
        ("base,head=metro,recipe=spin", "recipe=spin is of head=iterative, not of head=metro"),
        ("base,data=coco", "Unknown data 'coco'. Known: , coco_part, coco_all"),
        ("base,haed=metro", "Unknown config option 'haed' .* Known: variant, body, head, recipe"),
    ],
)
def test_unknown_words_list_the_known_ones(arg, message):
    with pytest.raises(ValueError, match=message):
        mesh.get_config(arg)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model__image": (64, 80)}, r"image=\(64, 80\): mesh recovery needs square pictures"),
        ({"head__kind": "direct"}, "Unknown config.head.kind 'direct'. Known: iterative, metro"),
        ({"body__gender": "m"}, "Unknown config.body.gender 'm'. Known: neutral, male, female"),
        ({"body__truth": "mine"}, "config.body.truth must be 'annotated' or 'own', not 'mine'"),
        (
            {"body__male": "open_body"},
            "config.body.male and config.body.model have different triangles",
        ),
    ],
)
def test_what_a_task_cannot_be_made_of_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        test_mesh_task.task_of(test_mesh_task.configured("", "body=open_hand_right", **changes))


@pytest.mark.parametrize("head, missing", [("iterative", "depth"), ("metro", "vertices")])
def test_a_loss_without_one_of_its_terms_is_named(head, missing):
    config = test_mesh_task.configured("", f"body=open_hand_right,head={head}").unlock()
    del config.loss[missing]
    with pytest.raises(ValueError, match=f"config.loss has no {missing}. head.kind='{head}' needs"):
        test_mesh_task.task_of(config)
