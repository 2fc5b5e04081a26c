"""Which LoRA adapters can be merged exactly at all. Knows PEFT's settings; knows no torch and no weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from errors import ConversionError

# Settings of PEFT under which W + s·B·A is not the whole truth. Empty, false or absent, they mean nothing.
REFUSED = (
    "alora_invocation_tokens arrow_config ensure_weight_tying kasa_config layer_replication lora_bias "
    "monteclora_config target_parameters trainable_token_indices use_bdlora use_qalora velora_config"
).split()
# Ways to start that change the base as well: the adapter then belongs to weights that nobody has.
CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def check_kind(settings: Path, config: Mapping[str, Any], refused: Sequence[str] = ()) -> None:
    """Raise ConversionError when an adapter means more than a LoRA.

    Args:
        settings: Its `adapter_config.json`, for the message.
        config: What stands there.
        refused: Further settings that the caller does not know.
    """
    if config.get("peft_type", "LORA") != "LORA":
        raise ConversionError(f"{settings} is a {config['peft_type']} adapter; only LoRA can be merged here.")
    used = [name for name in (*REFUSED, *refused) if config.get(name)]
    if config.get("bias", "none") != "none":
        used.append(f"bias={config['bias']}")
    if used:
        raise ConversionError(f"{settings} uses {', '.join(used)}, which cannot be merged exactly here. Train without.")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(CHANGED_BASE):
        raise ConversionError(
            f"{settings} began with {start!r}, which changes the base as well. Save the adapter again with "
            "`path_initial_model_for_weight_conversion`, which makes it a plain LoRA."
        )
