"""How much of a GPU a model takes, and how fast it can write. Arithmetic alone; knows neither Modal nor vLLM.

Weights in 4 bits: every matrix of the layers has half a byte a parameter, a 16-bit scale and a 4-bit zero for each
group of 128; the embedding and the output stay in 16 bits. One token of the cache is a key and a value of every layer.
To write a token, all weights but the embedding are read once: the memory's bandwidth bounds the speed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

GIB = 2**30
MIB = 2**20
GROUP = 128  # weights that share a scale
BYTES_PER_WEIGHT = (4 + (16 + 4) / GROUP) / 8
BYTES_16 = 2
# Activations of a step of 2048 tokens, CUDA graphs for up to 8 answers, CUDA itself. An estimate: vLLM says at its
# start how much is left for the cache.
WORK_BYTES = int(2.25 * GIB)


@dataclass(frozen=True)
class Shape:
    """What memory depends on.

    Attributes:
        layers: Number of layers.
        kv_heads: Heads that have keys and values of their own.
        head_dim: Numbers in a key.
        linear: Parameters of the layers' matrices.
        embedding: Parameters of the embedding; the output has as many (untied).
        lora_per_rank: Parameters of an adapter on all seven projections, for each unit of its rank.
    """

    layers: int
    kv_heads: int
    head_dim: int
    linear: float
    embedding: float
    lora_per_rank: int

    @property
    def kv_bytes(self) -> int:
        """Bytes of one token in the cache, 16 bits a number."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES_16

    @property
    def weight_bytes(self) -> float:
        """Bytes of the checkpoint in 4 bits."""
        return self.linear * BYTES_PER_WEIGHT + 2 * self.embedding * BYTES_16

    @property
    def read_bytes(self) -> float:
        """Bytes read to write one token."""
        return self.weight_bytes - self.embedding * BYTES_16

    @property
    def params(self) -> int:
        """Number of parameters."""
        return round(self.linear + 2 * self.embedding)


@dataclass(frozen=True)
class Gpu:
    """A GPU as Modal names it.

    Attributes:
        memory_mib: What the driver shows, in MiB.
        gb_per_s: Bandwidth of its memory, in 10^9 bytes a second, as its maker publishes it.
        usd_per_s: Modal's price.
    """

    memory_mib: int
    gb_per_s: float
    usd_per_s: float


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "qwen2.5-14b": Shape(48, 8, 128, linear=13.21e9, embedding=0.7785e9, lora_per_rank=89_600 * 48),
        "qwen3-14b": Shape(40, 8, 128, linear=13.21e9, embedding=0.7779e9, lora_per_rank=100_352 * 40),
    }
)
# Prices of July 2026; `modal billing rates` says today's.
GPUS: Mapping[str, Gpu] = MappingProxyType(
    {
        "A10": Gpu(23_028, 600, 0.000306),
        "L4": Gpu(23_034, 300, 0.000222),
        "L40S": Gpu(46_068, 864, 0.000542),
    }
)


@dataclass(frozen=True)
class Fit:
    """How a model lies in a GPU.

    Attributes:
        weights_gib: Of the checkpoint.
        lora_gib: Reserved for a live adapter.
        kv_gib: Left for the cache.
        kv_tokens: Tokens that it holds, of all conversations together.
        ceiling: Tokens a second that one answer cannot exceed: bandwidth over bytes read.
    """

    weights_gib: float
    lora_gib: float
    kv_gib: float
    kv_tokens: int
    ceiling: float


def fit(shape: Shape, gpu: Gpu, share: float, lora_rank: int = 0) -> Fit:
    """Return how `shape` in 4 bits lies in `share` of a GPU's memory.

    Args:
        shape: Of the model.
        gpu: The card.
        share: Of its memory that vLLM takes, from 0 to 1.
        lora_rank: Of one live adapter; 0 when it is merged.

    >>> found = fit(SHAPES["qwen2.5-14b"], GPUS["A10"], 0.90)
    >>> round(found.weights_gib, 1), found.kv_tokens // 1000, round(found.ceiling)
    (9.3, 47, 71)
    """
    lora = lora_rank * shape.lora_per_rank * BYTES_16
    left = gpu.memory_mib * MIB * share - WORK_BYTES - shape.weight_bytes - lora
    return Fit(
        weights_gib=shape.weight_bytes / GIB,
        lora_gib=lora / GIB,
        kv_gib=max(left, 0) / GIB,
        kv_tokens=max(int(left // shape.kv_bytes), 0),
        ceiling=gpu.gb_per_s * 1e9 / (shape.read_bytes + lora),
    )
