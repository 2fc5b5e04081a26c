"""TRL's trainer with batches of like length, in an order that a resumed run finds again. Knows no recipe.

Its held-out loss is the mean over tokens, as the training loss is, whatever the batches.
"""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from torch.utils.data import Sampler
from trl import SFTTrainer

from training.examples import IGNORED

BATCHES_SORTED_TOGETHER = 50  # enough for little padding, few enough that batches differ from epoch to epoch


class LengthOrder(Sampler[int]):
    """Indices of examples, shuffled, neighbours of about the same length.

    The order depends on seed and epoch alone; transformers' own takes the global random state, which a resumed run
    has not.

    Args:
        lengths: Of each example, in tokens.
        batch_size: Examples a step.
        seed: Of the shuffle.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of another epoch; the trainer calls it before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        chance = random.Random(f"{self.seed}-{self.epoch}")  # noqa: S311  an order, not a secret
        indices = list(range(len(self.lengths)))
        chance.shuffle(indices)
        span = self.batch_size * BATCHES_SORTED_TOGETHER
        batches: list[list[int]] = []
        for start in range(0, len(indices), span):
            near = sorted(indices[start : start + span], key=lambda index: -self.lengths[index])
            batches += [near[at : at + self.batch_size] for at in range(0, len(near), self.batch_size)]
        # The one batch that is not full stays last: anywhere else it would shift the borders of the batches after it.
        ragged = [batches.pop()] if len(batches[-1]) < self.batch_size else []
        chance.shuffle(batches)
        return iter([index for batch in (*batches, *ragged) for index in batch])


class OrderedTrainer(SFTTrainer):  # type: ignore[misc]
    """`SFTTrainer` with `LengthOrder`, and a held-out loss in nats a token."""

    @cached_property
    def _tokens_each(self) -> float:
        """Trained tokens of a held-out example, on the average."""
        rows = self.eval_dataset["labels"]
        return float(sum(label != IGNORED for row in rows for label in row) / len(rows))

    def prediction_step(self, model: Any, inputs: Any, *_: Any, **__: Any) -> tuple[Any, None, None]:
        """Return a batch's loss, weighed by its trained tokens: transformers takes the mean over examples."""
        loss, _logits, _labels = super().prediction_step(model, inputs, prediction_loss_only=True)
        labels = inputs["labels"]
        return loss * ((labels != IGNORED).sum() / (len(labels) * self._tokens_each)), None, None

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthOrder:
        """Override the hook that transformers asks for the order of the examples."""
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in dataset["input_ids"]]
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthOrder(lengths, size, self.args.seed)
