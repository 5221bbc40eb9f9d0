"""Eight fake devices for every test, and the folders of reference outputs and samples."""

import os
import pathlib

os.environ["JAX_PLATFORMS"] = "cpu"
# Most of the time of a test goes into compiling small programs: LLVM does not optimize them here.
os.environ["XLA_FLAGS"] = " ".join(
    (
        "--xla_force_host_platform_device_count=8",
        "--xla_backend_optimization_level=0",
        os.environ.get("XLA_FLAGS", ""),  # the last of two flags counts
    )
)

import jax
import pictures
import pytest
import runs

from crocohuman_jax.data.preparation import pipeline
from crocohuman_jax.training import loop, sharding


def pytest_collection_modifyitems(items):
    """Puts the rooms with the longest tests first, so that parallel processes end together."""
    long = ("training", "tasks", "evaluation")
    items.sort(key=lambda item: item.path.parent.name not in long)


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """Lets the tests share what was compiled; also those of a parallel session's processes."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    jax.config.update("jax_compilation_cache_dir", str(folder / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _folder(variable: str) -> pathlib.Path:
    folder = os.environ.get(variable, "")
    if not folder or not pathlib.Path(folder).is_dir():
        pytest.skip(f"{variable} does not name a folder")
    return pathlib.Path(folder)


@pytest.fixture
def oracles() -> pathlib.Path:
    """The folder of outputs of reference implementations."""
    return _folder("CROCOHUMAN_ORACLES")


@pytest.fixture
def samples() -> pathlib.Path:
    """The folder of real pictures and annotations."""
    return _folder("CROCOHUMAN_SAMPLES")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> pathlib.Path:
    """A prepared folder of small scenes: 6 sequences, 3 instants, 2 cameras, with silhouettes."""
    root = tmp_path_factory.mktemp("scenes")
    source = pictures.write(root / "source")
    settings = pipeline.Settings(
        "pairs_folder", source, {}, size=(80, 80), held_out=0.3, held_out_by="sequence"
    )
    pipeline.prepare(settings, root / "prepared", 1, lambda done, total: None)
    return root / "prepared"


@pytest.fixture(scope="session")
def straight(prepared, tmp_path_factory):
    """(workdir, last state) of an uninterrupted debug run."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    return workdir, loop.train(runs.debug(prepared), workdir)


@pytest.fixture(scope="session")
def often(prepared, tmp_path_factory):
    """(workdir, last state) of an uninterrupted run that saves after every step."""
    workdir = tmp_path_factory.mktemp("often") / "run"
    return workdir, loop.train(runs.debug(prepared, **runs.OFTEN), workdir)


@pytest.fixture(scope="session")
def one_device(prepared, tmp_path_factory):
    """The losses of twenty steps on one device."""
    workdir = tmp_path_factory.mktemp("one") / "run"
    config = runs.debug(prepared, **runs.TWENTY)
    config.mesh = runs.ONE
    with pytest.MonkeyPatch.context() as patch:
        make = sharding.make_mesh
        patch.setattr(sharding, "make_mesh", lambda sizes: make(sizes, jax.devices()[:1]))
        loop.train(config, workdir)
    found = runs.losses(workdir)
    assert found[20] < found[1] - 0.02  # it did train
    return found
