"""Runs in the environment of `gpu4`, where the project is not: quantises a checkpoint, or scores one. Imports no room.

Started as `python -P gpu4_worker.py REQUEST.json RESULT.json`; says what it does as JSON lines on stdout.
"""

import json
import sys
from pathlib import Path
from typing import Any

SEED = 0


def say(step: str, done: float) -> None:
    """Print one line of progress."""
    print(json.dumps({"step": step, "progress": round(done, 3)}), flush=True)


def device_facts() -> dict[str, Any]:
    """Return whether a GPU is at hand, and its name."""
    import torch

    there = torch.cuda.is_available()
    return {"gpu": torch.cuda.get_device_name(0) if there else None, "torch": torch.__version__}


def load(folder: str) -> tuple[Any, Any]:
    """Return model and tokenizer of a checkpoint, on the GPU if there is one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def rendered_ids(tokenizer: Any, row: dict[str, Any], limit: int, *, asking: bool = False) -> list[int]:
    """Return the ids of a row: {"messages": …} by the chat template, {"text": …} as it is."""
    if "messages" in row:
        text = tokenizer.apply_chat_template(row["messages"], tokenize=False, add_generation_prompt=asking)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    else:
        ids = tokenizer(row["text"])["input_ids"]
    return [int(one) for one in ids[-limit:]] if asking else [int(one) for one in ids[:limit]]


def score(request: dict[str, Any]) -> dict[str, Any]:
    """Return nats and tokens of the held-out rows, and the greedy answers to the prompts."""
    import torch

    model, tokenizer = load(request["model"])
    nats, tokens, answers = 0.0, 0, []
    rows, prompts = request["rows"], request["prompts"]
    with torch.inference_mode():
        for number, row in enumerate(rows):
            ids = torch.tensor([rendered_ids(tokenizer, row, request["max_length"])], device=model.device)
            if ids.shape[1] < 2:
                continue
            log_probs = torch.log_softmax(model(ids).logits[0, :-1].float(), dim=-1)
            nats -= float(log_probs.gather(1, ids[0, 1:, None]).double().sum())
            tokens += ids.shape[1] - 1
            say("scoring", (number + 1) / len(rows))
        for number, prompt in enumerate(prompts):
            ids = torch.tensor(
                [rendered_ids(tokenizer, prompt, request["max_length"], asking=True)], device=model.device
            )
            said = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=request["max_new_tokens"],
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            )  # fmt: skip
            answers.append(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True))
            say("answering", (number + 1) / len(prompts))
    return {"nats": nats, "tokens": tokens, "answers": answers}


def recipe(method: str, ignore: list[str]) -> list[Any]:
    """Return llm-compressor's modifiers: 4-bit weights, 16-bit activations, groups of 128."""
    if method == "gptq":
        from llmcompressor.modifiers.gptq import GPTQModifier  # type: ignore[import-not-found]

        return [GPTQModifier(targets=["Linear"], scheme="W4A16", ignore=ignore)]
    from llmcompressor.modifiers.quantization import QuantizationModifier  # type: ignore[import-not-found]
    from llmcompressor.modifiers.transform.awq import AWQModifier  # type: ignore[import-not-found]

    return [AWQModifier(), QuantizationModifier(scheme="W4A16_ASYM", targets=["Linear"], ignore=ignore)]


def compress(request: dict[str, Any]) -> dict[str, Any]:
    """Quantise by llm-compressor into `out`, in the form that vLLM calls compressed-tensors."""
    from datasets import Dataset
    from llmcompressor import oneshot  # type: ignore[import-not-found]

    model, tokenizer = load(request["model"])
    say("quantising", 0.0)
    ids = [rendered_ids(tokenizer, row, request["max_length"]) for row in request["rows"]]
    data = Dataset.from_list([{"input_ids": one, "attention_mask": [1] * len(one)} for one in ids if one])
    oneshot(
        model=model, dataset=data, recipe=recipe(request["method"], request["ignore"]), tokenizer=tokenizer,
        max_seq_length=request["max_length"], num_calibration_samples=len(data),
    )  # fmt: skip
    say("saving", 0.0)
    model.save_pretrained(request["out"], save_compressed=True)
    tokenizer.save_pretrained(request["out"])
    return {"rows": len(data)}


def pack(request: dict[str, Any]) -> dict[str, Any]:
    """Quantise by GPT-QModel into `out`, in the classic form of GPTQ or AWQ; needs a GPU."""
    from gptqmodel import GPTQModel, QuantizeConfig  # type: ignore[import-not-found]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(request["model"])
    ids = [rendered_ids(tokenizer, row, request["max_length"]) for row in request["rows"]]
    form = {"method": "awq", "format": "gemm"} if request["method"] == "awq" else {}
    kept: dict[str, Any] = {f"-:{pattern.removeprefix('re:')}": {} for pattern in request["ignore"]}
    model = GPTQModel.load(request["model"], QuantizeConfig(bits=4, group_size=128, dynamic=kept, **form))
    say("quantising", 0.0)
    model.quantize([{"input_ids": one, "attention_mask": [1] * len(one)} for one in ids if one], batch_size=1)
    say("saving", 0.0)
    model.save(request["out"])
    tokenizer.save_pretrained(request["out"])
    return {"rows": len(ids)}


def main() -> None:
    """Do what the request asks."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import torch

    torch.manual_seed(SEED)
    if threads := request.get("threads"):
        torch.set_num_threads(threads)
    jobs = {"score": score, "compress": compress, "pack": pack}
    for job in request["jobs"]:  # in one process: starting these libraries takes longer than a small model's work
        found = jobs[job](request[job])
    result = {**device_facts(), **found}
    Path(sys.argv[2]).write_text(json.dumps(result, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
