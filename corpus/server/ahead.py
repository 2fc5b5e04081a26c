"""Draws instructions before anybody asks for them. Pure: works on copies, so whoever draws holds nobody up."""

import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from corpus.server.domain import Domain
from corpus.server.paths import reached
from corpus.server.quotas import Cell
from corpus.server.sampler import Sampler
from corpus.server.targets import Target
from errors import CorpusError

CELLS = 20  # tried: one for which the domain makes no target must not stop all the others


@dataclass(frozen=True)
class Drawn:
    """An instruction that nobody has yet.

    Attributes:
        number: From 1, among all instructions.
        returned: Of the state that it was drawn for.
        cell: One level for each dimension.
        target: The object to write from.
    """

    number: int
    returned: int
    cell: Cell
    target: Target

    @property
    def id(self) -> str:
        """Its id as an instruction."""
        return f"INS-{self.number:04}"


@dataclass
class Future:
    """What is drawn next as long as nothing comes back: copies of their own, so that whoever draws holds nobody up.

    Attributes:
        sampler: As it will be before the next draw.
        reached: The same, of the paths of targets.
        paths: What a target can reach in its schema.
        seed: Of the targets.
        number: Of the next instruction.
        returned: Of the state that it was split from.
    """

    sampler: Sampler
    reached: Counter[str]
    paths: frozenset[str]
    seed: int
    number: int
    returned: int

    def draw(self, domain: Domain) -> Drawn | None:
        """Return the next instruction, counted as served here; None when nothing can be given now.

        Raises:
            CorpusError: The domain makes no target for the cell, nor for others.
        """
        cell = self.sampler.peek()
        if cell is None:
            return None
        try:
            return self._with_target(domain, cell)
        except CorpusError:
            for again in range(1, CELLS):
                other = self.sampler.peek(again)
                with suppress(CorpusError):
                    if other is not None:
                        return self._with_target(domain, other)
            raise

    def _with_target(self, domain: Domain, cell: Cell) -> Drawn:
        chance = random.Random(f"{self.seed}:{self.number}")  # noqa: S311  made again by seed
        drawn = Drawn(self.number, self.returned, cell, domain.target(cell, chance, self.reached))
        self.sampler.count(cell)
        self.reached.update(self.paths.intersection(reached(drawn.target)))
        self.number += 1
        return drawn
