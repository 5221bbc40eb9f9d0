"""Mesh recovery: the pose, shape and mesh of a body or a hand from one or two pictures."""

from crocohuman_jax.body_models import run_body
from crocohuman_jax.metrics import losses
from crocohuman_jax.models import croco
from crocohuman_jax.models.heads import metro, regressor
from crocohuman_jax.tasks import Task
from crocohuman_jax.tasks.mesh import data as data_lib
from crocohuman_jax.tasks.mesh import evaluation, objective, photographs

AXES = (*croco.AXES, *regressor.AXES, *metro.AXES)


def make(config) -> Task:
    """Returns the task of `config.model`, `.head`, `.body`, `.loss` and `.data`."""
    model = config.model
    sizes = croco.shapes(model.image, model.patch, model.position, model.encoder, model.decoder)
    if model.image[0] != model.image[1]:
        sides = tuple(model.image)
        raise ValueError(f"config.model.image={sides}: mesh recovery needs square pictures.")
    bodies = run_body.Bodies(**config.body)
    data = data_lib.Data(config, bodies)
    mesh = objective.Mesh(
        encoder=sizes[0],
        decoder=None if config.data.second == "none" else sizes[1],
        image=tuple(model.image),
        patch=model.patch,
        position=model.position,
        compute=croco.Compute(
            dtype=model.dtype, attention=model.attention, remat=model.remat, unroll=model.unroll
        ),
        drop_path=model.drop_path,
        keep_cls=model.keep_cls,
        head=config.head.to_dict(),
        loss=losses.checked(config.loss.to_dict()),
        bodies=bodies,
    )
    return Task(
        init=mesh.init,
        counts=mesh.counts,
        loss=mesh.loss,
        metrics=mesh.metrics,
        predict=mesh.predict,
        picture=mesh.picture,
        flops=mesh.flops,
        train=data.train,
        held_out=data.held_out,
        axes=AXES,
        example_batch=mesh.example_batch,
        from_data=lambda: {"mean": data.mean()},
        unit="people",
        evaluation=lambda asked: evaluation.make(mesh, data, asked),
        photographs=photographs.Photographs(mesh),
    )
