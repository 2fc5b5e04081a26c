"""Whether an answer draws the conclusion that was due. Pure: texts in, a verdict out.

Three conditions, on the sentence of the answer that is nearest to the conclusion: it holds at least `ENOUGH` of the
conclusion's content words (by stem, accents folded), it is negated as often modulo two, and it is a conditional or an
alternative only if the conclusion is one (a premise said again holds all the words, and concludes nothing).
"""

from dataclasses import dataclass

from dialogue.french import count_negations, mood, split_sentences, stems

ENOUGH = 0.6  # share of the conclusion's content words


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        right: All three conditions hold.
        overlap: Share of the conclusion's content words in the nearest sentence, 0 to 1.
        same_parity: Negated as often as the conclusion, modulo two.
        same_mood: Conditional, or an alternative, only if the conclusion is.
        sentence: The nearest sentence.
    """

    right: bool
    overlap: float
    same_parity: bool
    same_mood: bool
    sentence: str


def judge(answer: str, conclusion: str) -> Verdict:
    """Compare an answer with the conclusion that was due.

    Questions to the pupil are left out: they conclude nothing.

    >>> judge("Donc ta colère perd sa force. Le vois-tu ?", "Ta colère perd de sa force.").right
    True
    >>> judge("Donc ta colère ne perd pas sa force.", "Ta colère perd de sa force.").right
    False
    """
    wanted = stems(conclusion)
    parity, due = count_negations(conclusion) % 2, mood(conclusion)
    verdicts = [Verdict(False, 0.0, False, False, "")]
    for sentence in split_sentences(answer):
        if sentence.endswith("?"):
            continue
        overlap = len(wanted & stems(sentence)) / len(wanted) if wanted else 0.0
        same_parity = count_negations(sentence) % 2 == parity
        same_mood = mood(sentence) == due
        right = overlap >= ENOUGH and same_parity and same_mood
        verdicts.append(Verdict(right, round(overlap, 3), same_parity, same_mood, sentence))
    # The nearest one decides, a premise said again set aside: an answer that also says the contrary is no right one.
    return max(verdicts, key=lambda verdict: (verdict.same_mood, verdict.overlap))
