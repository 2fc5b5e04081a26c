"""A grade from 0 to 4 for an answer, given what was asked. Pure: texts in, a grade out; the forms are read elsewhere.

Beyond `dialogue.scheme_score`, which sees an answer alone, three things are known here: the premises of an exercise,
the conclusion that is due, and what a question is about. The rules, in this order:

- nothing of one's own (the question again, the scheme's name) is 0; the form in letters or the example again, 1;
- an exercise with its right conclusion is 4, its premises standing in the prompt; 3 where the conclusion is vaguer, or
  probable or certain as it should not be; with another conclusion 2, with premises said again or the contrary 1;
- a question whose answer has the scheme's words and concludes on what was asked is 3, though its parts are not joined
  by their words; without the scheme such a conclusion is 1; what the question takes for granted may not be denied, 2.
"""

import re

from rapidfuzz import fuzz

from dialogue.french import count_negations, fold, split_sentences, stems
from dialogue.scheme_score import Clause, clauses, linked, score
from evaluation.schemes import claim, concluding, judge, premises_of, said_again
from personas import Scheme, get_scheme

NAMED, LOOSE, NEAR, FULL = 1, 2, 3, 4  # only named; with parts that do not fit; nearly; in full
ENOUGH = 0.6  # of a conclusion's words: with fewer it is vaguer than the one due
RECITED = 0.85  # of the letters of a form or an example: so much of them is no reasoning of one's own
ECHO = 90  # per cent of the letters of prompt and answer that agree
_FEWEST_LETTERS = 20  # of a sentence taken from the example: shorter ones agree by chance

_LETTER = re.compile(r"\b[A-DPQR]\b(?!['’])")
_MAY = re.compile(r"\b(?:probable\w*|sans doute|peut-etre|vraisembl\w+|peut s'attendre|il y a des chances)")
_GRANTED = re.compile(r"\bpourquoi\b")


def grade(asked: str, answer: str, scheme: str, conclusion: str | None = None) -> int:
    """Return 0 to 4 by the rules at the top of this file.

    Args:
        asked: The question, or the exercise with its premises.
        answer: What came.
        scheme: Id of the one that was asked for.
        conclusion: The one that is due, of an exercise.

    >>> asked = "Si tu lis, alors tu sais. Or tu lis. Que conclus-tu ?"
    >>> [grade(asked, answer, "MP", "Tu sais.") for answer in ("Donc tu sais.", "Donc tu ne sais pas.", "Oui.")]
    [4, 1, 0]
    """
    known = get_scheme(scheme)
    if fuzz.ratio(letters(asked), letters(answer)) >= ECHO:
        return 0
    if is_recited(answer, scheme):
        return NAMED
    own = " ".join(one for one in split_sentences(answer) if not _is_formula(one))
    least = NAMED if own != " ".join(split_sentences(answer)) else 0
    told = [one for one in clauses(own) if stems(one.text) - stems(known.name)]
    if not told:
        return least
    graded = (
        _of_question(asked, own, known, told) if conclusion is None else _of_exercise(asked, own, known, conclusion)
    )
    return max(least, graded)


def _of_exercise(asked: str, answer: str, scheme: Scheme, conclusion: str) -> int:
    verdict = judge(answer, conclusion, asked)
    if verdict.right:
        as_sure = bool(_MAY.search(fold(verdict.sentence))) == bool(_MAY.search(fold(conclusion)))
        return FULL if as_sure and verdict.overlap >= ENOUGH else NEAR
    premises, due = premises_of(asked), claim(conclusion)
    for one in clauses(answer):
        said = claim(concluding(one.text, asked))
        denied = said.negated != due.negated and (said.false, said.limited) == (due.false, due.limited)
        denied = denied and linked(one.text, conclusion)
        if one.concludes and not denied and not said_again(one.text, premises) and said.words & stems(asked):
            return LOOSE
    if score(f"{asked} {answer}", scheme.id).fallacy and not score(asked, scheme.id).fallacy:
        return LOOSE
    return NAMED if stems(answer) & stems(f"{asked} {scheme.name}") or _has_recited(answer, scheme) else 0


def _of_question(asked: str, answer: str, scheme: Scheme, told: list[Clause]) -> int:
    found = score(answer, scheme.id)
    about = [one for one in told if (one.concludes or one.probable) and stems(one.text) & stems(asked)]
    graded: int = found.grade
    if about and graded == LOOSE and not found.fallacy and not found.contrary:
        graded = NEAR
    if _GRANTED.search(fold(asked)) and any(_denies(one.text, asked) for one in about):
        return min(graded, LOOSE)
    return max(graded, NAMED) if about else graded


def _denies(said: str, asked: str) -> bool:
    """Whether a statement says the contrary of what a question takes for granted."""
    return linked(said, asked) and count_negations(said) % 2 != count_negations(asked) % 2


def _is_formula(sentence: str) -> bool:
    return len(_LETTER.findall(sentence)) > 1


def is_recited(answer: str, scheme: str) -> bool:
    """Whether an answer says the scheme's own form or example again, which the optimised prompt shows.

    >>> [is_recited(text, "MP") for text in (get_scheme("MP").example, "Si P, alors Q. Or P. Donc Q.", "Donc tu sais.")]
    [True, True, False]
    """
    known, said = get_scheme(scheme), letters(answer)
    texts = [letters(known.form), letters(known.example)]
    return any(len(said) >= RECITED * len(text) and fuzz.partial_ratio(text, said) >= 100 * RECITED for text in texts)


def _has_recited(answer: str, scheme: Scheme) -> bool:
    example = letters(scheme.example)
    sentences = [letters(one) for one in split_sentences(answer)]
    return any(len(one) >= _FEWEST_LETTERS and fuzz.partial_ratio(one, example) >= 100 * RECITED for one in sentences)


def letters(text: str) -> str:
    """Return a text's folded letters and figures, one space between words."""
    return " ".join("".join(sign if sign.isalnum() else " " for sign in fold(text)).split())
