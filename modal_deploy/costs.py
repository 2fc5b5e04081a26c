"""What the deployment costs: an hour, a question asked alone, a month at N pupils. Formulas; knows no bill.

A container is billed from its start to the end of its idle window. Prices are Modal's of July 2026, without a region
(one that is pinned costs 1.5 to 1.75 times as much); `modal billing rates` says today's.
"""

import math
from dataclasses import dataclass

from modal_deploy.config import Config
from modal_deploy.sizing import GPUS

USD_PER_CORE_S = 0.0000131
USD_PER_GIB_S = 0.00000222
HOUR_S = 3600
MIB_PER_GIB = 1024
# Of all answers of a full engine together: with `max_seqs` at once, each is written at about half its speed alone.
SHARED_SPEED = 0.5


@dataclass(frozen=True)
class Use:
    """How it is used, in a month.

    Attributes:
        pupils: How many.
        questions: Of one pupil.
        hours: In which questions are asked at all, one independent of the other.
    """

    pupils: int
    questions: int
    hours: float

    @property
    def asked(self) -> int:
        """Questions of all."""
        return self.pupils * self.questions


@dataclass(frozen=True)
class Month:
    """What a month comes to.

    Attributes:
        use: How it was used.
        load: Answers being written at once, on average; beyond `capacity` pupils wait.
        capacity: Answers that the engine writes at once without falling behind.
        starts: Cold starts.
        engine_hours: Billed hours of the GPU container.
        engine_usd: Their price.
        gateway_usd: The CPU container's.
        held: Dollars of the month's budget; past it the gateway refuses until the month is over.
    """

    use: Use
    load: float
    capacity: float
    starts: float
    engine_hours: float
    engine_usd: float
    gateway_usd: float
    held: float

    @property
    def usd(self) -> float:
        """All of it."""
        return self.engine_usd + self.gateway_usd

    @property
    def usd_per_question(self) -> float:
        """Of one question, on average."""
        return self.usd / self.use.asked

    @property
    def within(self) -> bool:
        """Whether the budget is enough."""
        return self.engine_usd <= self.held

    @property
    def keeps_up(self) -> bool:
        """Whether the engine is fast enough."""
        return self.load <= self.capacity


def engine_usd_per_s(config: Config) -> float:
    """Return the price of a second of the GPU container: card, cores, memory.

    >>> from modal_deploy.config import load_config
    >>> round(engine_usd_per_s(load_config()) * HOUR_S, 2)
    1.48
    """
    engine = config.engine
    return GPUS[engine.gpu].usd_per_s + engine.cores * USD_PER_CORE_S + engine.host_gib * USD_PER_GIB_S


def gateway_usd_per_s(config: Config) -> float:
    """Return the price of a second of the CPU container."""
    gateway = config.gateway
    return gateway.cores * USD_PER_CORE_S + gateway.memory_mib / MIB_PER_GIB * USD_PER_GIB_S


def isolated_usd(config: Config) -> float:
    """Return the price of one question that finds the engine asleep: its start, its answer, its idle window."""
    engine_s = config.assumed.cold_s + config.assumed.answer_s + config.engine.idle_s
    gateway_s = config.assumed.cold_s + config.assumed.answer_s + config.gateway.idle_s
    return engine_s * engine_usd_per_s(config) + gateway_s * gateway_usd_per_s(config)


def month(config: Config, use: Use) -> Month:
    """Return what a month comes to when questions arrive by chance, evenly over `use.hours`.

    A container that stays up for w seconds after an answer of a seconds is up for the share 1 - exp(-r (a + w)) of
    the time, r questions a second (the busy share of a queue M/D/inf), and a question finds it asleep with the
    chance exp(-r (a + w)). Few pupils pay for isolated questions, many for all hours; a class at the same hour lies
    below both, as their windows overlap.
    """
    answer_s, cold_s = config.assumed.answer_s, config.assumed.cold_s
    open_s = use.hours * HOUR_S
    rate = use.asked / open_s
    asleep = math.exp(-rate * (answer_s + config.engine.idle_s))
    engine_s = open_s * (1 - asleep) + use.asked * asleep * cold_s
    gateway_s = open_s * (1 - math.exp(-rate * (answer_s + config.gateway.idle_s)))
    return Month(
        use=use,
        load=rate * answer_s,
        capacity=config.engine.max_containers * config.engine.max_seqs * SHARED_SPEED,
        starts=use.asked * asleep,
        engine_hours=engine_s / HOUR_S,
        engine_usd=engine_s * engine_usd_per_s(config),
        gateway_usd=gateway_s * gateway_usd_per_s(config),
        held=float(config.budget.month_usd),
    )
