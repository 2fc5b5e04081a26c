"""How a person says what a succession target says with a code: roles, states, forms, shares. Pure; judges no law."""

import re
from collections.abc import Mapping
from fractions import Fraction

from corpus.check import plain

# By key and value, ways to say it of which one will do; they are compared by their stems. Tolerant on purpose: a text
# with none of them leaves the thing out. What has no entry (a child is a son, a brother, a father's) goes unasked.
WAYS: dict[str, dict[str, str]] = {
    "statut": {
        "renoncant": "renonce|renonciation|refuse|abandonne",
        "predecede": "décédé|mort|morte|disparu|feu|perdu|avant lui|avant elle|prédécédé",
        "indigne": "indigne|condamné|tué|violence|indignité",
        "presume_absent": "absent|absence|disparu|nouvelles|trace|introuvable",
        "acceptant_concurrence_actif_net": "actif net|concurrence|inventaire",
    },
    "situation_matrimoniale": {
        "celibataire": "célibataire|jamais marié|non marié|seul|seule",
        "marie": "mari|marié|mariée|mariage|époux|épouse|femme|conjoint",
        "pacse": "pacs|pacsé|pacsée|partenaire",
        "divorce": "divorce|divorcé|ex",
        "veuf": "veuf|veuve",
        "separe_de_corps": "séparé|séparée|séparation",
        "concubinage": "concubin|concubine|concubinage|compagnon|compagne|union libre|couple|vivait ensemble",
    },
    "lien": {
        "partenaire_pacs": "pacs|pacsé|partenaire",
        "concubin": "concubin|concubine|concubinage|compagnon|compagne|union libre|couple",
        "ex_conjoint": "ex|divorce|divorcé|ancien mari|ancienne femme|ancien conjoint",
        "conjoint_survivant": "mari|épouse|époux|femme|veuf|veuve|conjoint|mariée|marié",
        "grand_parent": "grand-père|grand-mère|grands-parents|aïeul|mamie|papi",
        "oncle": "oncle|tonton",
        "tante": "tante|tata",
        "cousin": "cousin|cousine",
        "neveu": "neveu|neveux|fils",
        "niece": "nièce|nièces|fille",
    },
    "regime_matrimonial": {
        "communaute_reduite_aux_acquets": "acquêts|communauté",
        "communaute_meubles_et_acquets": "meubles|communauté",
        "communaute_universelle": "universelle",
        "separation_de_biens": "séparation|séparés",
        "participation_aux_acquets": "participation",
    },
    "droit_logement": {
        "temporaire_un_an": "année|ans|douze mois|12 mois",
        "viager_demande": "viager|vie",
        "viager_exclu_par_testament_authentique": "exclu|privé|écarté|retiré|testament",
    },
    "demembrement": {"usufruit": "usufruit|usufruitier", "nue_propriete": "nue-propriété|nu-propriétaire"},
    "qualification": {
        "indivis": "indivis|indivision|part|parts|moitié|tiers|quart|sixième",
        "commun": "commun|couple|deux",
    },
    "forme": {
        "olographe": "olographe|manuscrit|main|papier|lettre",
        "authentique": "authentique|notaire|notarié",
        "mystique": "mystique|cacheté|secret|scellé",
        "international": "international",
        "donation_partage": "donation-partage|partage",
        "presents_d_usage": "cadeau|cadeaux|présent|usage",
        "donation_deguisee": "déguisée|déguisé|faux|fausse|fictive",
    },
    "imputation": {"avancement_de_part": "avance|avancement|part|anticipée", "hors_part": "hors part|plus|supplément"},
    "protection": {
        "tutelle": "tutelle|tuteur|tutrice",
        "curatelle": "curatelle|curateur|curatrice",
        "habilitation_familiale": "habilitation|habilité",
        "sauvegarde_de_justice": "sauvegarde",
    },
    "blocage": {
        "refus_de_vendre": "vendre|vente",
        "refus_de_partager": "partager|partage",
        "indivisaire_taisant": "répond|silence|muet|nouvelles|tait",
        "mesentente_gestion": "entente|entendent|mésentente|désaccord|dispute|conflit|gestion|gérer|fâchés",
    },
    "action": {
        "partage_judiciaire": "tribunal|juge|judiciaire",
        "partage_amiable": "amiable|accord",
        "vente_815_5_1": "vendre|vente",
        "attribution_preferentielle": "attribution|attribuer|préférentielle",
        "maintien": "maintien|maintenir|rester|garder|laisser",
    },
}
SHARES = frozenset({"quote_part", "quote_part_defunt", "quotite", "quotite_disponible"})
_PARTS = {2: "moitie|un demi(?! frere| siecle)", 3: "tiers", 4: "quart(?! d heure)", 5: "cinquieme", 6: "sixieme",
          8: "huitieme"}  # fmt: skip
_COUNTS = {2: "deux|2", 3: "trois|3", 5: "cinq|5"}
_ALL = r"\b(?:tout|toute la|totalite|integralite|entier|entiere|seule?|unique)\b"


def ways(key: str, value: str) -> str | None:
    """Return the ways to say the value of a key, between bars; None where it goes unasked."""
    return WAYS.get(key, {}).get(value)


def says_share(text: str, share: str) -> bool:
    """Whether a text says a share: as a fraction, by its name, or in percent.

    >>> says_share("elle a droit à un quart", "1/4"), says_share("elle a 25 %", "1/4"), says_share("elle a 25 %", "1/3")
    (True, True, False)
    """
    part = Fraction(share)
    percents = [float(one.replace(",", ".")) for one in re.findall(r"(\d+(?:[.,]\d+)?)\s?(?:%|pour ?cent)", text)]
    if any(abs(one - float(100 * part)) < 0.7 for one in percents):  # two thirds are 66 %, 66,6 % or 67 %
        return True
    if re.search(_name_of(part), plain(text)):
        return True
    # Not « 11/4/2020 », which is a day.
    return re.search(rf"(?<![\d/]){share.replace('/', ' ?/ ?')}(?![\d/])", text) is not None


def _name_of(part: Fraction) -> str:
    """Return a pattern for the name of a share in a plain text: « un tiers » is not found in « les deux tiers »."""
    if part == 1:
        return _ALL
    name = _PARTS.get(part.denominator, "(?!)")
    if part.numerator == 1:
        return rf"(?<!deux )(?<!trois )(?<!cinq )(?<![2-9] )\b(?:{name})s?\b"
    return rf"\b(?:{_COUNTS.get(part.numerator, '(?!)')}) (?:{name})s?\b"


def told_shares(target: Mapping[str, object], path: str = "$") -> dict[str, str]:
    """Return the shares of a target by their paths."""
    found: dict[str, str] = {}
    for key, value in target.items():
        if key in SHARES:
            found[f"{path}.{key}"] = str(value)
        for at, one in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(one, Mapping):
                found |= told_shares(one, f"{path}.{key}[{at}]" if isinstance(value, list) else f"{path}.{key}")
    return found
