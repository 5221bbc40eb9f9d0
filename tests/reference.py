"""Reads the reference's weights for the tests: torch zip files into our nested dicts."""

import collections
import io
import pickle
import zipfile

import einops
import numpy as np

TYPES = {"FloatStorage": np.float32, "LongStorage": np.int64, "DoubleStorage": np.float64}


class _Stub:
    """Stands in for every class that a test does not need."""

    def __init__(self, *args, **kwargs):
        self.args = args

    def __setstate__(self, state):
        self.state = state


def read_torch(path) -> dict:
    """Returns the contents of a torch zip file, tensors as numpy arrays, other classes as stubs."""
    archive = zipfile.ZipFile(path)
    root = next(n for n in archive.namelist() if n.endswith("data.pkl")).removesuffix("data.pkl")

    def rebuild(storage, offset, size, stride, *_):
        flat = np.frombuffer(storage, storage.dtype)[offset:]
        strides = [s * flat.itemsize for s in stride]
        return np.lib.stride_tricks.as_strided(flat, size, strides).copy()

    class Reader(pickle.Unpickler):
        def find_class(self, module, name):
            if name == "_rebuild_tensor_v2":
                return rebuild
            if name == "OrderedDict":
                return collections.OrderedDict
            return TYPES.get(name, _Stub)

        def persistent_load(self, key):
            return np.frombuffer(archive.read(f"{root}data/{key[2]}"), key[1])

    return Reader(io.BytesIO(archive.read(f"{root}data.pkl"))).load()


def from_torch(state: dict, heads: tuple[int, int]) -> dict:
    """Returns our parameters from CroCo's state dict (weights or their gradients)."""
    state = {k.removeprefix("grad/"): np.asarray(v) for k, v in state.items()}

    def linear(name, *out):
        kernel = state[f"{name}.weight"].T
        shape = out or kernel.shape[1:]
        return {
            "kernel": kernel.reshape(-1, *shape),
            "bias": state[f"{name}.bias"].reshape(shape),
        }

    def norm(name):
        return {"scale": state[f"{name}.weight"], "bias": state[f"{name}.bias"]}

    def block(prefix, count, heads):
        width = state[f"{prefix}.0.norm1.weight"].shape[0]

        def one(i):
            p = f"{prefix}.{i}"
            out = {
                "norm1": norm(f"{p}.norm1"),
                "attention": {
                    "qkv": linear(f"{p}.attn.qkv", 3, heads, width // heads),
                    "out": linear(f"{p}.attn.proj"),
                },
                "norm2": norm(f"{p}.norm2"),
                "mlp": {"up": linear(f"{p}.mlp.fc1"), "down": linear(f"{p}.mlp.fc2")},
            }
            if f"{p}.norm_y.weight" in state:
                shape = (heads, width // heads)
                out |= {
                    "norm3": norm(f"{p}.norm3"),
                    "norm_memory": norm(f"{p}.norm_y"),
                    "cross_attention": {
                        "query": linear(f"{p}.cross_attn.projq", *shape),
                        "key": linear(f"{p}.cross_attn.projk", *shape),
                        "value": linear(f"{p}.cross_attn.projv", *shape),
                        "out": linear(f"{p}.cross_attn.proj"),
                    },
                }
            return out

        return _stack([one(i) for i in range(count)])

    def depth(prefix):
        return len({k.split(".")[1] for k in state if k.startswith(f"{prefix}.")})

    embed = einops.rearrange(state["patch_embed.proj.weight"], "o i p q -> (p q i) o")
    return {
        "encoder": {
            "embed": {"kernel": embed, "bias": state["patch_embed.proj.bias"]},
            "blocks": block("enc_blocks", depth("enc_blocks"), heads[0]),
            "norm": norm("enc_norm"),
        },
        "decoder": {
            "embed": linear("decoder_embed"),
            "mask_token": state["mask_token"].reshape(-1),
            "blocks": block("dec_blocks", depth("dec_blocks"), heads[1]),
            "norm": norm("dec_norm"),
        },
        "head": linear("prediction_head"),
    }


def _stack(trees):
    if isinstance(trees[0], dict):
        return {key: _stack([tree[key] for tree in trees]) for key in trees[0]}
    return np.stack(trees)
