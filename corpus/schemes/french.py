"""French words joined without a fault: elision, capitals, the slots of a surface. Pure; knows no scheme."""

import re

_VOWELS = "aeiouhàâéèêëîïôœûAEIOUHÀÂÉÈÊËÎÏÔŒÛ"  # no y: « que Yanis »; the h of our names and words is mute
# What a sentence of ours may begin with that is no proper name.
_COMMON = frozenset(
    """à abattu aucun aucune aimer ce ces cet cette certains chacun dans devant deux dire elle ils il la le les
    mentir nos notre nous nul nulle on par pendant personne plus quelqu quelque rien savoir si sa son sous ta
    tes ton tout toute tous tu un une vouloir l d""".split()
)


def capital(text: str) -> str:
    """Make the first letter a capital, behind an opening quote too.

    >>> capital("« tout a une cause » vaut"), capital("l'âme")
    ('« Tout a une cause » vaut', "L'âme")
    """
    return re.sub(r"^(\W*)(\w)", lambda found: found[1] + found[2].upper(), text, count=1)


def plain_start(text: str) -> str:
    """Give a sentence a small first letter, unless a proper name begins it, and no full stop.

    >>> plain_start("Une bille roule."), plain_start("Karim dort.")
    ('une bille roule', 'Karim dort')
    """
    text = text.removesuffix(".")
    first = re.match(r"\w+", text)
    return text[0].lower() + text[1:] if first and first[0].lower() in _COMMON else text


def si(clause: str) -> str:
    """Put « si » in front.

    >>> si("il pleut"), si("elle dort"), si("Inès rit")
    ("s'il pleut", 'si elle dort', 'si Inès rit')
    """
    return f"s'{clause}" if re.match(r"ils?\b", clause) else f"si {clause}"


def que(clause: str) -> str:
    """Put « que » in front.

    >>> que("si l'on dort, on rêve")
    "que, si l'on dort, on rêve"
    >>> que("il pleut"), que("Inès rit"), que("Yanis rit"), que("« il » est un pronom")
    ("qu'il pleut", "qu'Inès rit", 'que Yanis rit', 'que « il » est un pronom')
    """
    if re.match(r"si\b|s'ils?\b|sous ce rapport\b", clause):
        return f"que, {clause}"
    return f"qu'{clause}" if clause[:1] in _VOWELS else f"que {clause}"


class Slots(dict[str, str]):
    """The texts that stand for the slots of a surface, with the forms that follow from them.

    Of a text `p` it also gives `P` (capital), `si_p`, `que_p`, and `p_short`, which is `p` where none is known.

    >>> "{Si_p_short}, alors {q}.".format_map(Slots(p="on dort", p_short="il dort", q="on rêve"))
    "S'il dort, alors on rêve."
    """

    def __missing__(self, key: str) -> str:
        if key[0].isupper():
            return capital(self[key[0].lower() + key[1:]])
        for prefix, joined in (("si_", si), ("que_", que)):
            if key.startswith(prefix):
                return joined(self[key.removeprefix(prefix)])
        if key.endswith("_short"):
            return self[key.removesuffix("_short")]
        raise KeyError(key)
