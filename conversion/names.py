"""Names and row orders of one weight in a checkpoint and in a GGUF. Knows llama.cpp's table; knows no values.

llama.cpp reorders the rows of query and key projections of its "llama" architecture, because it rotates neighbouring
pairs where transformers rotates halves.
"""

from collections.abc import Iterable

import gguf
import numpy as np
import numpy.typing as npt

from conversion.container import Container
from errors import ConversionError

F32 = npt.NDArray[np.float32]


def architecture(container: Container) -> gguf.MODEL_ARCH:
    """Return llama.cpp's architecture of a file.

    Raises:
        ConversionError: The `gguf` package does not know it.
    """
    name = container.value("general.architecture")
    for arch, known in gguf.MODEL_ARCH_NAMES.items():
        if known == name:
            return arch
    raise ConversionError(f"{container.path.name} has the architecture {name!r}, which the gguf package does not know.")


def gguf_names(container: Container, names: Iterable[str]) -> dict[str, str]:
    """Return, for names of a checkpoint's tensors, those of the GGUF; what the file has not is left out.

    >>> gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2).get_name("model.layers.1.mlp.up_proj.weight", (".weight",))
    'blk.1.ffn_up.weight'
    """
    blocks = int(container.value(f"{container.value('general.architecture')}.block_count"))
    table = gguf.get_tensor_name_map(architecture(container), blocks)
    found: dict[str, str] = {}
    for name in names:
        plain = name.replace("model.language_model.", "model.").replace("language_model.", "")
        mapped = table.get_name(plain, try_suffixes=(".weight", ".bias"))
        if mapped is not None and mapped in container.tensors:
            found[name] = mapped
    return found


def reordered(weight: F32, heads: int) -> F32:
    """Return a query or key projection with its rows in llama.cpp's order.

    Args:
        weight: (rows, columns), rows in transformers' order.
        heads: Of queries, or of keys.

    >>> reordered(np.arange(4, dtype=np.float32).reshape(4, 1), 1).ravel().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def head_counts(container: Container) -> dict[str, int]:
    """Return how many heads the rows of `attn_q` and `attn_k` are divided into."""
    arch = container.value("general.architecture")
    heads = int(container.value(f"{arch}.attention.head_count"))
    key = f"{arch}.attention.head_count_kv"
    shared = container.fields.get(key)
    return {"attn_q": heads, "attn_k": int(shared.value) if shared is not None else heads}
