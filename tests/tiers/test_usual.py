"""Temperature and length as config.yaml says them: the persona's unless it does, the caller's before both."""

from engines.testing import ScriptedEngine
from personas import PERSONAS
from tests.tiers.test_free import ASKED
from tiers.base import ANSWER_AS_USUAL, AnswerOptions
from tiers.free import params_for, with_usual

USUAL = AnswerOptions(temperature=0.1, max_tokens=33)


def test_who_says_how_an_answer_is_sampled() -> None:
    engine, kant = ScriptedEngine(), PERSONAS["kant"].small_sampling
    for options, usual, expected in (
        (ANSWER_AS_USUAL, ANSWER_AS_USUAL, (kant.temperature, kant.max_tokens)),
        (ANSWER_AS_USUAL, USUAL, (0.1, 33)),
        (AnswerOptions(temperature=0.0), USUAL, (0.0, 33)),
        (AnswerOptions(max_tokens=12, seed=4), USUAL, (0.1, 12)),
    ):
        params = params_for(engine, ASKED, with_usual(options, usual))
        assert (params.temperature, params.max_tokens, params.seed) == (*expected, options.seed)
