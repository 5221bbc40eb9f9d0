"""The rules of the tree: who may import whom, and what keeps files easy to read."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "crocohuman_jax"
# Imports go down only; rooms of one layer do not see each other. Where a room has rooms of its own,
# they are ranked too; a room's own files, such as data/loader.py, stand under its name.
LAYERS = [
    {"configuration"},
    {"synthetic/graphics"},
    {"synthetic/figure"},
    {"synthetic/motion"},
    {"synthetic/people", "synthetic/scenes"},
    {"synthetic"},
    {"body_models"},
    {"models", "metrics"},
    {"data"},
    {"data/storage"},
    {"data/formats"},
    {"data/datasets", "data/preparation"},
    {"data/streams"},
    {"weights/safe", "weights/names"},
    {"weights/sharing"},
    {"weights/exchange"},
    {"visualize"},
    {"tasks"},
    {"training"},
    {"evaluation", "inference"},
    {"benchmarks"},
    {"train", "prepare", "benchmark", "reconstruct", "convert", "evaluate", "predict"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
# Libraries behind one door each: who may import them.
DOORS = {
    "flax": {"models", "tasks"},
    "grain": {"data", "data/storage", "data/streams"},
    "orbax": {"training"},
    "ml_collections": {"train", "benchmark", "training"},
    "tensorboardX": {"training"},
    "optax": {"training"},
    "av": {"data", "data/datasets"},
    "tensorflow_datasets": {"data/storage", "data/preparation"},
    "huggingface_hub": {"weights/sharing"},
    "jaxlie": {"body_models", "metrics"},
    "trimesh": {"visualize"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def names(path):
    return str(path.relative_to(ROOT))


def imports(path):
    """Yields the dotted name of everything a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(parts):
    """Returns the room of a module, given the parts of its path."""
    for count in (2, 1):
        name = "/".join(parts[:count])
        if name in RANK and (len(parts) > count or (PACKAGE / f"{name}.py").exists()):
            return name
    return "/".join(parts[:2])


def module(name):
    """Returns the parts of the path of an imported module of ours."""
    parts = name.split(".")[1:]
    inside = PACKAGE.joinpath(*parts)
    if inside.with_suffix(".py").exists():
        return parts
    return [*parts, "__init__"] if inside.is_dir() else module(name.rpartition(".")[0])


@pytest.mark.parametrize("path", FILES, ids=names)
def test_imports_go_down(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts == ("__init__",):
        return
    me = room(parts)
    for name in imports(path):
        library = name.split(".")[0]
        if library == "crocohuman_jax":
            other = room(module(name))
            assert other == me or RANK[other] < RANK[me], f"{path.name} imports {name}"
        if library in DOORS:
            assert me in DOORS[library], f"{path.name} imports {name}"
        if path.name != "export_body.py":  # which runs in an environment of its own
            assert library not in ("torch", "tensorflow"), f"{path.name} imports {name}"
        assert library != "pickle", f"{path.name} imports {name}"
        if parts[0] in ("data", "synthetic"):
            assert library not in ("jax", "flax"), f"{path.name} imports {name}"
        if me == "tasks" and name.startswith("crocohuman_jax.tasks."):
            whose = module(name)[1]
            assert whose in ("__init__", parts[1]), f"{path.name} imports {name}: another task"


def test_rooms_are_small_and_the_root_holds_commands_only():
    for folder in {path.parent for path in FILES}:
        assert len(list(folder.glob("*.py"))) <= 21, folder
    for path in PACKAGE.glob("*.py"):
        assert path.stem == "__init__" or RANK[path.stem] == len(LAYERS) - 1, path


@pytest.mark.parametrize("path", FILES, ids=names)
def test_files_and_functions_are_short_and_say_what_they_are(path):
    text = path.read_text()
    tree = ast.parse(text)
    assert text.count("\n") <= 400
    assert ast.get_docstring(tree)
    assert not re.search(r"\b(TODO|FIXME|XXX)\b|# noqa|type: ignore|pylint:|\beval\(", text)
    assert not re.search(r"(^|/)(utils?|helpers?|misc|base|manager)\.py$", str(path))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            limit = 150 if path.name == "loop.py" else 60
            assert node.end_lineno - node.lineno < limit, node.name
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), "a bare except"


@pytest.mark.parametrize("path", FILES, ids=names)
def test_configs_are_read_whole(path):
    assert not re.search(r"\bconfig\.get\(", path.read_text())


@pytest.mark.parametrize("path", [p for p in FILES if p.name != "__init__.py"], ids=names)
def test_public_functions_say_what_they_do(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node) or node.name == "main", f"{path.name}: {node.name}"
