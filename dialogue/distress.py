"""The rules that tell a pupil in distress from a pupil who writes about death. Knows French; no card, no number.

Each rule is a pattern on text that `dialogue.french.plain` has spelled out: lower case, no accents. A gap (`_W`)
takes words only, so a rule never crosses a sign of punctuation unless it says so. Where the pattern does not itself
say who suffers, the rule asks for a first person in the same sentence. Rules miss paraphrase, more than half of it:
`dialogue.alarm` looks after them, and docs/safety.md says what both miss.
"""

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["self_harm", "violence_suffered", "other_danger"]


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: For logs and tests; it quotes nobody.
        kind: What the pupil seems to suffer.
        needs: The rule is tried only on a message that holds one of these: a page of text costs little.
        pattern: Searched in one sentence.
        first_person: Whether the sentence must also say je, me, moi, mon…
    """

    name: str
    kind: Kind
    needs: frozenset[str]
    pattern: re.Pattern[str]
    first_person: bool


def _w(most: int) -> str:
    """A gap of at most this many words."""
    return rf"(?:[\w'-]+ ){{0,{most}}}?"


# A gap that no negation may fill: « je veux pas mourir » wants nothing of the kind.
_YES = r"(?:(?!pas |jamais |aucun|nullement )[\w'-]+ ){0,4}?"
_HURT = r"(?:couper|scarifier|griffer|bruler|mutiler|blesser|taillader|faire (?:du )?mal|faire saigner|faire vomir)"
_DIE = (
    r"(?:mourir|crever|(?:me |m')?suicider?|me tuer?|en finir(?! avec (?!la vie|tout|moi))"
    r"|disparaitre|me foutre en l'air"
    r"|me pendre|me noyer|me flinguer|me buter|me jeter (?:sous|par|du|d'un|dans|sur|dessous"
    r"|devant|a l'eau)|sauter (?:du|par|d'un|dans le)"
    r"|m'ouvrir les veines|arreter de vivre|tout arreter|mettre fin a (?:mes jours|ma vie|tout)"
    r"|m'endormir (?:pour toujours|a jamais)|partir (?:pour toujours|pour de bon|la[- ]haut)"
    r"|etre morte?"
    r"|(?:que |qu')(?:tout|ca|elle|ma vie|la vie) (?:s'arrete|finisse|se termine|cesse)"
    r"|le rejoindre|la rejoindre|rejoindre (?:papa|maman|mon|ma|mamie|mamy|papi|papy)"
    rf"|avoir un accident|ne jamais (?:etre )?n(?:ee?|aitre)|me {_HURT}|me laisser (?:mourir"
    r"|partir))"
)
_NOT_LIVE = (
    r"(?:vivre(?! sans| avec| dans| comme un| pour| en )|exister(?! sans)|etre (?:la|en vie|ici"
    r"|de ce monde)\b|me reveiller"
    r"|continuer(?: comme ca| a vivre|(?= ?[.,!?]| ?$))|me lever (?:demain|le matin)|rester en vie"
    r"|en vie)"
)
_CLOSE = (
    r"(?:(?:un|une|mon|ma|mes|son|sa|des|le|la|cette|ce) (?:[\w'-]+ ){0,2}?(?:amie?s?|potes?"
    r"|copains?|copines?|cousine?s?"
    r"|freres?|frangine?|soeurs?|voisine?s?|camarades?|bff|meufs?|mec|mere|pere|tante|daronne?"
    r"|fille|gars|eleve"
    r"|garcon|binome|collegue|correspondante?|crush|ex)\b|maman|papa)"
)
_SOMEONE = (
    r"(?:(?:mon|ma|mes|un|une|le|la|les|des|ce|cet|cette|son|leur|deux|trois"
    r"|plusieurs) (?:[\w'-]+ ){0,2}?"
    r"(?:pere|mere|parents|beau[ -]pere|belle[ -]mere|darone?n?e?s?|freres?|soeurs?|frangins?"
    r"|oncle|tonton|tante"
    r"|cousine?s?|grand[ -]pere|grand[ -]mere|papi|mamie|copains?|copines?|mecs?|meufs?|ex"
    r"|petite? amie?|profs?|prof de"
    r"|professeur|entraineur|coach|voisine?s?|gars|filles?|garcons?|types?|hommes?|vieux"
    r"|inconnue?s?|gens|eleves?"
    r"|classe|groupe|surveillante?|pion|patron|tuteur|educateur|potes?|amie?s?|famille|bande"
    r"|pretre|moniteur"
    r"|animateur|terminales?|premieres?|harceleurs?|adulte)\b"
    r"|papa|maman|\bils?\b|\belles?\b|\bon\b|quelqu'un|tout le monde|certains|d'autres)"
)
_ME = r"(?:(?:me |m')(?:l'|les )?(?:a |ont |avait |avaient |a deja |aurait )?|nous (?:a |ont )?)"
_FORCED = (
    r"(?:forc|oblig)(?!er\b|eant)\w*(?: ?[.,;!?]| ?$| (?:a |de |d')?(?:l'|le |lui |me "
    r"|des )?(?:coucher|sucer|deshabiller|toucher"
    r"|embrasser|envoyer|epouser|marier|boire|choses|faire des|rapport))"
)
_ACTS = (
    r"(?:frapp\w+|tap(?:e|es|ent|ait|aient|er)\b(?! (?:\w+ )?(?:sur (?:les nerfs|le systeme)"
    r"|la honte|la discut|l'incruste"
    r"|l'affiche|dans l'oeil))|bat\b(?! (?:\w+ )?(?:aux?|a la|a fifa|toujours aux?)\b)|battent"
    r"|battu\w*|battait|cogn\w+"
    r"|gifl\w+|claqu(?:e|ait) |fouett\w+|tabass\w+|violent(?:e|ent|ait|er)\b|viol(?:e|ee|es|ent|er"
    r"|ait)\b|agress\w+"
    r"|abus\w+ de|harcel\w+|humili\w+|rabaiss\w+|insult\w+|menac\w+|crach\w+|rackett?\w+|enferm\w+"
    r"|etrangl\w+|pelot\w+"
    r"|caress\w+|tripot\w+|attouch\w+|persecut\w+|maltrait\w+|terroris\w+|isol(?:e|ent) de"
    r"|trait(?:e|ent|ait|aient) (?:de(?! victime)|comme|tous|sans)|suit (?:dans la rue|jusqu"
    r"|partout dans|tous les|depuis|quand je|le soir|apres)|suivent|suivie? (?:dans|jusqu|hier"
    r"|depuis)|traqu\w+|vol(?:ent|aient) (?:mes|mon|ma|de l)"
    r"|fai[st]\w* (?:\w+ )?(?:chanter|du chantage|du mal|mal\b|des trucs|des choses"
    r"|des attouchements|subir|vivre l'enfer)"
    r"|font (?:\w+ )?(?:chanter|du chantage|du mal|des trucs|des choses|subir|vivre)"
    r"|donn\w+ (?:\w+ )?(?:coups?(?! de (?:main|fil|pouce|coeur|barre|telephone|jeune)| d')"
    r"|gifles?|claques?)|met(?:s|t)? (?:\w+ )?(?:des )?(?:claques|coups|gifles|baffes)"
    r"|mis (?:la|sa|une) (?:main|claque|gifle)|touch\w+(?: ?[.,!]| ?$| (?:la|les|le|entre|sous"
    r"|partout|mes|quand|sans|alors|pendant|apres|souvent|tout le temps|bizarr|trop|dans les"
    r"|au vestiaire|depuis))"
    r"|jett?\w+ (?:\w+ ){0,2}(?:des|dessus|contre)|demand\w+ (?:des|une"
    r"|de lui envoyer) (?:\w+ )?(?:photos?|videos?|nudes?)"
    rf"|envoi\w+ (?:\w+ ){{0,4}}(?:la nuit|nu\b|de lui|sexuel\w*|de son)|{_FORCED})"
)
_ACT_STEMS = (
    "frapp|tap|bat|cogn|gifl|claqu|fouett|tabass|violent|viol|agress|abus|harcel|humili|rabaiss"
    "|insult|menac|crach|racket|enferm|etrangl"
    "|pelot|caress|tripot|attouch|persecut|maltrait|terroris|isol|traite|traita|suit|suiv|traqu"
    "|volent|volai|chant|du mal|fait mal|font mal"
    "|des trucs|des choses|subir|vivre|coup|gifle|claque|baffe|mis la|mis sa|mis "
    "une|touch|jette|jete|jetai|demand|envoi|force|forca|oblig"
)
_DONE_TO = (
    r"(?:harcel\w+|frapp\w+|tabass\w+|battue?\b(?! (?:aux?|a ))|violee?\b|violer\b|agress\w+|menac\w+|rackett?\w+"
    r"|insult\w+|humili\w+|maltrait\w+|taper(?! )|taper (?:par|dessus|a|tous|dans)|toucher par|abuser|persecut\w+"
    r"|emmerder tous|victime (?:de|d')|exclue? (?:par|de tout)|rejetee? (?:par|de tout|depuis)|moquer)"
)
_MINE = (
    r"(?:ma mere|mon (?:petit |grand )?frere|ma (?:petite |grande )?soeur|mes (?:petits )?freres"
    r"|mes soeurs|maman)"
)

_SELF_HARM: tuple[tuple[str, str, str, bool], ...] = (
    (
        "wants_to_die",
        (
            "mourir|crever|suicid|tue|finir|disparai|foutre|pendre|noyer|flingu|buter|jeter|sauter|veines"
            "|arret|fin|endormir|partir|mort|rejoindre|accident|naitre|nee|coup|scarif|griff|brul|mutil"
            "|bless|taillad|mal|saigner|vomir"
        ),
        (
            rf"\bj(?:e |')(?:n'|ne )?(?:en )?{_YES}(?:veux|voudrais|songe|prefere|prefererais|compte"
            rf"|aimerais|reve|souhaite"
            rf"|envisage|(?:ai|avais|aurais) {_YES}(?:envie|besoin|decide|prevu|essaye|hate|voulu|tente|pense|prefere))"
            rf" {_YES}(?:(?:a|de|juste|vraiment|plus que) |d'|qu'a )?{_YES}{_DIE}"
        ),
        False,
    ),
    (
        "going_to",
        (
            "suicid|tuer|finir|foutre|pendre|noyer|flingu|buter|jeter|sauter|veines|vivre|mettre|endormir"
            "|partir|rejoindre|coup|scarif|griff|brul|mutil|bless|mal"
        ),
        (
            rf"\bje vais (?!pas |jamais ){_YES}(?!mourir|crever|disparaitre|tout arreter"
            rf"|avoir)(?:finir par )?{_DIE}"
        ),
        False,
    ),
    (
        "envy_of_death",
        (
            "mourir|crever|suicid|tuer|finir|disparai|foutre|pendre|noyer|flingu|buter|jeter|sauter"
            "|veines|arret|endormir|partir|mort|rejoindre|coup|scarif|griff|brul|mutil|bless|mal|vomir"
        ),
        rf"\b(?:(?:une |l')?envies? (?:\w+ )?(?:de|d')|j'y pense|je pense (?:souvent |parfois )?a) ?{_DIE}",
        True,
    ),
    (
        "thinks_of_it",
        "suicid",
        (
            rf"\b(?:je|j'ai|j'y|moi|a) (?:n'|ne )?{_YES}(?:pense|penser|songe|reflechis) {_w(3)}(?:au|a mon|a me|a) ?"
            r"suicid\w*(?! (?:de|d'|des|chez|comme|selon|dans|est)\b)"
            r"|\bsuicid\w*.{0,80}\bj'y (?:pense|songe|ai (?:\w+ )?pense)"
        ),
        True,
    ),
    (
        "thinks_of_death_often",
        "mort|mourir|finir|disparai",
        (
            rf"\bje pense (?:\w+ )?(?:souvent|tout le temps|tous les jours|chaque|beaucoup|sans arret"
            rf"|sans cesse|trop|qu'a)"
            rf" {_w(2)}(?:a )?(?:la mort|ma mort|mourir|en finir|disparaitre)"
        ),
        False,
    ),
    (
        "dark_thoughts",
        "idees|pensees|envies",
        r"\b(?:idees|pensees|envies) (?:\w+ )?(?:noires|suicidaires|de mort|sombres|d'en finir)",
        True,
    ),
    (
        "attempt",
        "tentative| ts|tente|adieu",
        (
            rf"\b(?:j'ai|j'avais|je|ma|mon) {_w(4)}(?:tentative (?:de suicide|l'an|l'annee|il y a|cet|en "
            r"|au)|une ts\b|ts\b|tente de me|(?:lettre|mot|message)s? d'adieu)"
        ),
        False,
    ),
    (
        "no_wish_to_live",
        "vie|vivre|exister|rester|continuer|battre|etre|reveiller",
        (
            rf"\b(?:plus|pas|aucune?|perdu|jamais|sans|ni)\b {_w(6)}(?:envie|raisons?|force|gout|courage"
            r"|motivation|interet) "
            r"(?:de |a |pour |d')(?:la vie|vivre(?! dans| sans| avec| en )|exister(?! sans)"
            r"|rester (?:en vie|ici|la)|continuer(?! (?:ce|cet|cette|le|la|les|mes|mon|a (?!vivre)))"
            r"|me battre|etre (?:la|en vie)|me reveiller)"
        ),
        True,
    ),
    (
        "tired_of_life",
        "marre|bol|fatigue|peux|degout|lasse|saoul|epuise",
        (
            r"\b(?:marre|ras[ -]le[ -]bol|fatiguee?|peux plus|degoutee?|lassee?|saoulee?|epuisee?) (?:de "
            r"|d')(?:la vie|vivre|ma vie"
            r"|cette vie|exister|etre (?:la|moi|en vie)|tout\b)"
        ),
        True,
    ),
    (
        "will_not_live",
        "vivre|exister|etre|reveiller|continuer|lever|vie",
        (
            r"\b(?:veux|voudrais|envie|peux|arrive|supporte|souhaite|prefere|aimerais|reve|pouvais|pouvoir"
            rf"|voulais) {_w(2)}(?:de |d'|a )?(?:ne )?(?:plus|pas|jamais)"
            rf"(?: jamais)? {_w(2)}(?:de |d'|a )?{_NOT_LIVE}"
        ),
        True,
    ),
    (
        "never_wake",
        "reveill|lever",
        (
            r"\b(?:plus jamais|jamais plus|ne plus|ne pas|ne jamais|plus|jamais"
            r"|pas) (?:\w+ )?(?:me )?(?:re)?(?:reveiller|lever|reveille)\b"
            r"(?=.*)(?<=er|le)"
        ),
        True,
    ),
    (
        "my_life_is_nothing",
        "ma vie|la mienne|mon existence",
        (
            r"\b(?:ma vie|la mienne|mon existence) (?:\w+ )?(?:n'en a|n'a|en a|a|vaut|ne vaut|sert|ne sert"
            r"|est) (?:\w+ )?(?:plus|pas|aucun|rien"
            r"|a rien|nulle\b|foutue|finie|fichue|un enfer|gachee|inutile|vide)"
        ),
        False,
    ),
    (
        "no_use_going_on",
        "sert",
        (
            rf"\bsert (?:\w+ )?a rien {_w(2)}(?:que je|de) (?:continuer?|vive|vivre|reste|rester|sois|suis)"
            r"(?! (?:ce|cet|cette|le|la|les|mes|mon|a (?!vivre)))"
        ),
        False,
    ),
    (
        "what_is_the_use",
        "a quoi",
        rf"\ba quoi (?:bon|ca sert|sert) {_w(2)}(?:que je (?:vive|continue|reste)|me lever|me battre)",
        False,
    ),
    (
        "burden",
        "poids|fardeau|charge|trop|dechet",
        (
            r"\b(?:je suis|j'ai l'impression d'etre|l'impression d'etre|je me sens|je me sens comme"
            rf"|je serai[st]?|etre) {_w(2)}"
            r"(?:un poids|un fardeau|une charge|de trop|un dechet)\b"
        ),
        True,
    ),
    (
        "if_i_were_gone",
        "si je|si j'|si moi",
        (
            r"\bsi (?:je n'|je |j'|moi je )(?:n')?(?:existais plus|(?:etais|suis) (?:plus|pas) (?:la\b"
            r"|de ce monde|en vie|nee?\b)|mourais (?:demain|ce soir)"
            r"|disparaissais)"
        ),
        False,
    ),
    (
        "better_without_me",
        "mieux|soulag|tranquil|content|heureu|pleur|manquera|remarqu|regrett",
        (
            r"\b(?:mieux|soulag\w+|tranquilles?|contents?|heureux|pleurer\w*|manquerai\w*|remarquer\w*"
            rf"|regretter\w*)\b {_w(6)}"
            r"(?:sans moi|si je (?:n'existais|disparais|meurs|mourais|partais|n'etais)|si j'etais (?:plus"
            r"|pas|mort)|que je (?:meure|parte|disparaisse)|morte?\b(?! de))"
            r"|\bsans moi (?:[\w',-]+ ){0,6}(?:mieux|soulag|tranquil|heureu)"
        ),
        True,
    ),
    (
        "nobody_would_care",
        "personne",
        (
            r"\bpersonne (?:ne )?(?:me |m'|s'en )?(?:pleurerait|regretterait|manquerai|rendrait compte"
            r"|remarquerait|m'aime|veut de moi)"
        ),
        True,
    ),
    (
        "deserves_death",
        "merite",
        r"\bje (?:ne )?merite (?:plus |pas )?(?:de |d')(?:vivre|mourir|crever|exister|etre en vie)",
        False,
    ),
    (
        "not_born",
        "j'aurais|j'aimerais|je voudrais",
        (
            rf"\bj(?:'aurais|'aimerais|e voudrais) {_w(3)}(?:du |voulu |prefere )?(?:ne )?(?:pas |jamais "
            r"|du )?(?:etre )?(?:nee?|naitre|mourir|y rester|crever)\b"
        ),
        False,
    ),
    (
        "farewell",
        "derniere fois|adieu|lirez|liras|serai plus|entendrez",
        (
            r"\b(?:c'est )?(?:la )?derniere fois (?:que|qu') ?(?:je|on) (?:vous |te |se )?(?:parl|ecri)"
            r"|\badieu\b.{0,60}merci pour tout"
            r"|merci pour tout.{0,60}\badieu|quand (?:vous lirez|tu liras) (?:ca|ce)|\bje (?:vous|te"
            r"|leur) dis adieu|\bc'est (?:un|mon) adieu"
            r"|\b(?:demain|bientot|ce soir|un jour|dimanche|lundi) je (?:ne )?serai plus (?:la"
            r"|de ce monde)|\bn'entendrez plus parler de moi|\b(?:plus la|plus le droit) pour vous embeter"
            r"|\b(?:m'a|nous a|a tous|m'ont) (?:dit|ecrit|laisse|envoye) (?:adieu|une? (?:lettre|mot"
            r"|message) d'adieu)"
        ),
        False,
    ),
    (
        "prepared",
        "prevu|planifi|prepare|ecrit",
        (
            rf"\bj'ai (?:deja |tout )?(?:prevu|planifie|prepare|ecrit) {_w(3)}(?:comment (?:mourir"
            r"|en finir)|ma mort|mon suicide|ma lettre|une lettre (?:a|pour) .{0,40}(?:apres"
            r"|quand je serai|pour quand)|pour (?:mourir|en finir|que ca s'arrete))"
        ),
        False,
    ),
    (
        "something_stupid",
        "betise|connerie|capable|me faire",
        (
            r"\b(?:crois que|peur de|vais|failli|peur que je"
            r"|envie de) (?:\w+ ){0,3}(?:fai\w+ une (?:betise|connerie)|me faire quelque chose)"
            r"|\bce que je (?:pourrais|peux|vais) (?:\w+ )?me faire\b|\bpeur de ce dont je suis capable"
        ),
        True,
    ),
    (
        "life_weighs",
        "vivre|la vie|la mort",
        (
            r"\bvivre (?:\w+ )?me (?:fatigue|pese|degoute|coute|fait mal|fait peur)"
            r"|\bla mort (?:\w+ )?(?:me (?:parait|semble|soulagerait|fait envie|tente|ferait du bien)"
            r"|m'attire|m'appelle|serait un soulagement pour moi)"
            r"|\bla vie .{0,30}trop dure?\b.{0,40}(?:j'y arrive plus|peux plus|je tiens plus|j'abandonne)"
            r"|\b(?:j'y arrive plus|j'abandonne)\b.{0,40}\bla vie"
        ),
        True,
    ),
    (
        "life_without_sense",
        ("plus envie|sens|issue|espoir|solution|retient|joie|vide|la vie"),
        (
            r"\b(?:plus|aucune?|pas d'|pas de|perdu) (?:\w+ ){0,4}(?:sens|espoir|issue|but) (?:a|dans"
            r"|pour) (?:ma|la|cette) (?:vie|existence)|\bje (?:ne )?(?:vois|trouve|ai) (?:\w+ )?(?:plus "
            r"|aucune? |pas )(?:d'|de )?(?:\w+ )?(?:issue|espoir|sortie)"
            r"|\brien (?:ne )?me retient\b(?! de)|\b(?:plus aucune|plus de) joie\b.{0,30}\b(?:mour|mort"
            r"|vie)|\bje (?:ne )?(?:ressens|sens) plus rien|\bje (?:me sens"
            r"|suis) (?:\w+ )?vide\b.{0,20}(?:plus|rien|dedans)|\bje (?:n'en|en) veux plus de (?:la|cette"
            r"|ma) vie|\bplus envie de (?:rien\b|quoi que ce soit)"
        ),
        True,
    ),
    (
        "how_to_die",
        "mourir|mort|vivre|tuer|suicid|finir",
        (
            r"\b(?:comment|combien|quoi|quels?) .{0,30}(?:pour (?:mourir|se tuer|en finir|se suicider"
            r"|arreter de vivre)|se tuer sans|mourir sans (?:souffrir|douleur|avoir mal))"
            r"|\bfait mal de mourir|\bmourir (?:\w+ )?(?:ca )?fait mal\b|\b(?:seule|unique"
            r"|meilleure) (?:solution|issue|sortie) .{0,15}(?:de mourir|la mort|en finir|disparaitre)"
            r"|\bautant (?:mourir|crever|en finir)"
        ),
        False,
    ),
    (
        "chose_to_go",
        "choisi|decide|partir",
        (
            r"\bmoi j'ai (?:choisi|decide)(?= ?[.!]| ?$)|\bj'ai (?:choisi|decide) (?:de partir|le jour"
            r"|quand je pars|d'en finir|la date)"
        ),
        False,
    ),
    (
        "told_to_die",
        "pendre|tuer|mourir|crever|suicid|menaces",
        (
            r"\b(?:me|m'a|m'ont|on m'a|ils me|elles me|on me) ?(?:dit|disent|dire|ecrit|ecrivent|conseille"
            r"|souhaite|repete\w*) .{0,20}(?:pendre|me tuer|mourir|crever|suicid\w*|va te|tue[- ]toi)"
            r"|\b(?:je recois|on m'envoie|ils m'envoient|j'ai recu|j'ai eu) (?:\w+ ){0,3}(?:menaces"
            r"|insultes|messages de haine)"
        ),
        False,
    ),
    (
        "death_as_relief",
        "mort|mourir|partir|vive|meure|disparai",
        (
            r"\b(?:la mort|mourir|partir|disparaitre|ne plus etre la) (?:serait|sera|c'est|ce serait"
            r"|me serait) (?:\w+ )?(?:un soulagement|une delivrance|plus (?:simple|facile|doux)|mieux"
            r"|la solution|la seule)|\bque je (?:vive|sois la|existe|respire) ou (?:que je |pas|non)"
            r"|\b(?:s'en fou\w*|s'en fich\w*|change\w* (?:rien|quoi)|egal) .{0,25}(?:que je (?:meure|vive"
            r"|disparaisse|parte)|si je (?:meurs|mourais|disparais\w*))|\bje (?:devrais|dois"
            r"|ferais mieux de) (?:\w+ )?(?:mourir|disparaitre|crever|pas exister|etre morte?)"
        ),
        False,
    ),
    (
        "no_reason_to_rise",
        "leve|lever|reveille|debout",
        (
            r"\b(?:ne )?(?:vois|sais|trouve) (?:plus|pas) pourquoi je (?:me leve|vis|continue|suis (?:la"
            r"|en vie)|me bats)|\barrive (?:plus|pas) a (?:me lever|sortir du lit"
            r"|sortir de mon lit)\b.{0,40}(?:noir|pleur|vide|envie|mort|tout)"
        ),
        False,
    ),
    (
        "pits",
        ("fond du|trou noir|tout est noir|tout noir|au plus mal|sombre|couler"),
        (
            r"\b(?:je suis |jsuis |suis )?au (?:fond du (?:trou|gouffre)|plus mal|bord du gouffre)"
            r"|\b(?:tout est|je vois tout|c'est tout) noir\b|\bje (?:sombre|coule"
            r"|m'enfonce)\b(?! dans (?:le|la|les|mon|ma) (?:texte|cours|lecture|fauteuil|canape|phrase))"
        ),
        True,
    ),
    (
        "last_time",
        "derniere|manquerez|manqueras|fini pour moi|plus la",
        (
            r"\b(?:c'est|ce sera|voila) (?:surement |peut[- ]etre )?(?:ma|mon) dernier(?:e)? (?:soiree"
            r"|soir|nuit|jour|message|heure|matin)|\b(?:vous|tu) (?:allez |vas )?me manque(?:rez|ras|r)\b"
            r"|\bc'est fini pour moi\b(?! le| la| les)|\bje vous demande pardon pour ce que je vais"
        ),
        False,
    ),
    (
        "self_fear",
        "peur de moi|moi-meme|moi meme",
        (r"\bpeur de moi[- ]?(?:meme)?\b|\bme fais peur a moi[- ]?meme|\bdanger pour moi[- ]?meme"),
        True,
    ),
    (
        "arms",
        "bras|poignet|cuisse|manches",
        (
            r"\bmes (?:bras|poignets|cuisses|jambes) (?:sont|est|ont) (?:\w+ ){0,3}(?:coup|cicatri|marqu"
            r"|entaill|scarif|abim|plein)\w*|\bmanches longues .{0,50}(?:cach|voi|ete|marque|coup)"
            r"|\b(?:coup|cicatri|entaill|scarif)\w* .{0,40}manches longues"
        ),
        True,
    ),
    (
        "if_i_were_dead",
        "mort|la demain|absence|ma vie|ouvert",
        (
            r"\bsi j'(?:etais|etait) morte?\b|\b(?:je sais pas|pas sure?|peut[- ]etre que?"
            r"|espere) .{0,15}\bje (?:ne )?(?:serai|suis) (?:plus|encore|pas) (?:la|en vie)\b"
            r"|\bpersonne .{0,25}mon absence\b|\bje (?:ne )?(?:supporte|veux|aime) plus (?:ma|la"
            r"|cette) vie\b|\bje (?:deteste|hais) (?:ma|la) vie\b|\bouvert (?:les|le|mes) (?:bras"
            r"|poignets?|veines)"
        ),
        True,
    ),
    (
        "friend_net",
        ("mourir|suicid|scarifi|ses bras|ses poignets|se tue|en finir|anorexi|mutil|se couper|ses cicatrices"),
        (
            rf"{_CLOSE} (?:[\w',-]+ ){{0,9}}?(?:de mourir|suicid\w*|(?:se |s'est )?scarifi\w*|ses (?:bras"
            r"|poignets) .{0,15}(?:coup|cicatri|entaill|lame|marqu)\w*|se tue\b|va en finir|anorexi\w+"
            r"|se mutil\w+|se couper|ses cicatrices)|\bdi(?:t|sent) que si je .{0,25}(?:se|s') ?(?:tue"
            r"|suicide|pend|jette|fou)"
        ),
        False,
    ),
    (
        "as_much_as_i",
        "que moi",
        rf"\b(?:mourir|en finir|se tuer|suicid\w+) {_w(8)}(?:autant que|comme|que) moi\b",
        False,
    ),
    ("still_alive", "en vie", r"\bpourquoi (?:je suis|suis-je|rester|je reste) (?:encore |toujours )?en vie", False),
    (
        "dead_inside",
        "interieur|en dedans",
        r"\bje (?:suis|me sens) (?:deja )?(?:morte?|vide) (?:a l'interieur|de l'interieur|en dedans)",
        False,
    ),
    (
        "cuts_now",
        "coupe|taillad|scarif|griff|brul|mutil|bless|cogn|punis|frappe|tape|fais",
        (
            rf"\bje (?:ne )?(?:{_w(2)})?me (?:\w+ )?(?:coupe|taillade|scarifie|griffe|brule|mutile|blesse"
            r"|cogne|punis)\b(?!.{0,25}(?:cheveux|ongles|appetit|cuisin|en faisant|en jouant|parole"
            r"|sport|foot|barbe|frange))"
            r"|\bje me (?:\w+ )?(?:frappe|tape) (?:la tete|dessus|contre|les|le|pour)"
            r"|\bje me fais (?:\w+ )?(?:du mal|mal expres|saigner|vomir|mal pour)"
        ),
        False,
    ),
    (
        "cut_again",
        "couper|scarif|griff|brul|mutil|bless|taillad|faire",
        (
            r"\b(?:recommence|replonge|craque|rechute|envie|besoin|continue|arrete\w*|empecher|essaie"
            rf"|essaye) {_w(3)}(?:a |de |d')?(?:me |m'){_HURT}"
        ),
        False,
    ),
    (
        "cut_in_the_past",
        "coupe|scarif|brul|bless|griff|mutil|taillad|fait",
        (
            r"\bje me suis (?:\w+ )?(?:coupee?|scarifiee?|brulee?|blessee?|griffee?|mutilee?|tailladee?"
            r"|fait (?:du )?mal|fait vomir)\b.{0,40}"
            r"(?:expres|volontair|encore|bras|poignet|cuisse|lame|rasoir|cutter|nouveau|veines|compas"
            r"|soulag|hier soir|du bien|apaise|punir)|\bje me (?:suis )?(?:\w+ )?scarifi"
        ),
        False,
    ),
    (
        "hurting_myself",
        "en me|scarif|punir",
        (
            r"\ben me (?:blessant|coupant|griffant|brulant|frappant|scarifiant|faisant (?:du )?mal)"
            r"|\bme scarifier|\b(?:pour|de) me punir\b"
        ),
        False,
    ),
    (
        "marks",
        "mes|lame|rasoir|cutter|compas|cicatrices|marques|coupures|entailles",
        (
            rf"\b(?:cach\w+|montr\w+|voi\w+|recouvr\w+) {_w(3)}mes (?:bras|poignets|cicatrices|marques"
            r"|cuisses|coupures|scarif\w+)"
            r"|\bmes (?:cicatrices|coupures|scarifications|scarifs)\b|\b(?:cicatrices|marques|coupures"
            r"|entailles) (?:sur|aux|au) (?:les |mes )?(?:bras|poignets?|cuisses?|jambes)|\blame (?:dans"
            r"|a) (?:la|ma) main|\b(?:lame|rasoir|cutter|compas)s?\b.{0,40}\b(?:bras|poignets?|cuisses?"
            r"|veines|me couper)"
        ),
        True,
    ),
    (
        "hates_self",
        "deteste|hais|degout",
        (
            r"\bje me (?:deteste|hais|degoute) (?:tellement|trop|tant|vraiment|a en)|\bje me (?:deteste"
            r"|hais) .{0,30}\b(?:vivre|mourir|punis)"
        ),
        False,
    ),
    (
        "friend_wants_to_die",
        (
            "mourir|tuer|suicid|finir|disparai|foutre|pendre|jeter|flinguer|buter|connerie|betise|sauter"
            "|vivre|crever|mal"
        ),
        (
            rf"{_CLOSE} {_w(6)}(?:veut|voulait|voudrait|parle de|parlait de|pense a|qu'il va|qu'elle va"
            r"|qu'il veut|qu'elle veut|menace de|essaye de|essaie de|tente de|envie de|va|vouloir"
            r"|dit que) "
            rf"{_w(3)}(?:de |d'|plus )?(?:mourir|se tuer|se suicider|suicide|en finir|disparaitre"
            r"|se foutre en l'air|se pendre|se jeter|se flinguer|se buter|faire une (?:connerie|betise)"
            r"|sauter|vivre\b(?! (?:sans|avec|en|a|au|dans))|crever|se faire du mal)"
        ),
        False,
    ),
    (
        "friend_hurts_self",
        "scarif|coupe|mutil|taillad|fai|bless",
        (
            rf"{_CLOSE} {_w(6)}(?:se|s'est|s') ?(?:\w+ )?(?:scarifi\w*|coupe(?:e|s|nt)?\b(?! (?:les cheveux"
            r"|la parole))|mutil\w+|taillad\w+|fai[st] (?:\w+ )?(?:du mal|vomir|saigner)|blesse\b expres)"
        ),
        False,
    ),
    (
        "friend_attempted",
        " ts|tentative|mourir|tuer|suicid|finir",
        (
            rf"{_CLOSE} {_w(4)}(?:a fait|a tente|a deja fait|a voulu) {_w(3)}(?:une ts\b|tentative|mourir"
            r"|se tuer|se suicider|en finir|suicide)"
        ),
        False,
    ),
    (
        "friend_said",
        "mourir|tuer|finir|suicid|vivre|scarif|disparai",
        (
            r"\b(?:il|elle|qui) (?:m'a|m'|me|nous a|nous) ?(?:\w+ )?(?:dit|ecrit|avoue|confie"
            rf"|repete) {_w(4)}(?:mourir|se tuer|en finir|se suicider|plus vivre|suicide|se scarifi\w+"
            r"|disparaitre)"
        ),
        False,
    ),
)

_VIOLENCE: tuple[tuple[str, str, str, bool], ...] = (
    (
        "done_to_me",
        _ACT_STEMS,
        rf"(?:\b){_SOMEONE} (?:(?!personne |rien |ca |cela |qui |idee )[\w'-]+ ){{0,6}}?{_ME}(?:\w+ )?{_ACTS}",
        False,
    ),
    ("done_to_me_list", _ACT_STEMS, rf"\b{_SOMEONE} [^.!?]{{0,60}}, (?:et )?{_ME}(?:\w+ )?{_ACTS}", False),
    (
        "suffered",
        (
            "abuse|harcel|frapp|tabass|battu|viol|agress|menac|rackett|raquett|insult|humili|maltrait"
            "|tape|touch|abus|persecut|emmerd|victime|exclu|rejet|moqu|coups|attouch"
        ),
        (
            rf"\b(?:je (?:{_w(2)})?(?:suis|me fais|me suis fait|me faisais|vais me faire)|j'ai (?:\w+ )?ete"
            rf"|j'etais|j'ai (?:\w+ )?subi|je subis|on s'est fait|me faire) {_w(2)}"
            rf"(?:{_DONE_TO}|des (?:violences|attouchements|coups|moqueries|insultes)|du harcelement"
            r"|un viol\b)"
        ),
        False,
    ),
    (
        "harassment_mine",
        "harcel|agresseur|violeur",
        (
            r"\b(?:mon|mes) (?:harceleurs?|agresseurs?|violeurs?)\b|\bje (?:vis|subis) (?:un|du"
            r"|le) (?:cyber)?harcelement"
        ),
        False,
    ),
    (
        "mocked",
        "moquent|moque|foutent|fout|rient|rigolent|paient",
        (
            r"\b(?:se moquent?|se foutent?|se fout|rient|rigolent|se paient) (?:tous )?(?:de (?:moi|mon|ma"
            r"|mes)|de ma gueule)\b.{0,80}(?:tous|tout le temps|chaque|depuis|classe"
            r"|jours?|couloir|a cause|vestiaire|groupe|insta|snap|reseaux|lycee|cantine|plus)|(?:tous"
            r"|chaque|depuis|classe|lycee).{0,60}\b(?:se moquent?|se foutent?|rient) de (?:moi|ma)"
        ),
        False,
    ),
    (
        "everyone_against_me",
        "monde|classe|ils|autres|filles|gars|contre",
        (
            r"\b(?:tout le monde|toute la classe|ils|les autres|la classe|les filles"
            r"|les gars) (?:\w+ ){0,3}(?:me|m') ?(?:rejett?e\w*|deteste\w*|hai\w*|evite\w*|fuit|fuient"
            r"|ignore\w*|exclu\w*|insulte\w*|tape\w*|humilie\w*)"
            r"|\bcontre moi\b.{0,40}(?:classe|groupe|lycee|reseaux)|\bgroupe (?:contre|sur) moi\b"
        ),
        False,
    ),
    (
        "rumours",
        "rumeur|photo|video|montage|sticker|compte|film|crach",
        (
            r"\b(?:rumeurs?|photos?|videos?|montages?|stickers?|comptes?) (?:[\w']+ ){0,3}(?:sur|de"
            r"|contre) moi\b.{0,80}|\bfilm(?:e|ent|ee|er|aient|é)\b.{0,40}(?:me |m'|moi|crach|frapp)"
            r"|crach\w+ dessus"
        ),
        True,
    ),
    (
        "afraid_at_home",
        "peur|ose|peux|veux",
        (
            r"\bj(?:e |')?(?:ai |e )?(?:\w+ )?(?:peur|ose plus|ose pas|veux pas|veux plus|peux pas"
            r"|peux plus) (?:de |d')?(?:rentrer|retourner|etre|aller|dormir) (?:\w+ ){0,2}(?:chez (?:moi"
            r"|mon|ma|mes|lui)|a la maison|dans ma chambre)|\b(?:quand je rentre|rentrer|soir"
            r"|maison).{0,20}j'ai peur (?:qu'il|de le|qu'elle|de lui|de mon)|\bpeur qu'(?:il|elle) (?:soit"
            r"|rentre|revienne) (?:\w+ )?(?:bourre|ivre|soul|enerve|encore)"
            r"|\bj'ai (?:\w+ )?(?:tres |trop |tellement )?peur (?:de |d'|du |des )(?:mon (?:pere|beau|mec"
            r"|copain|ex|frere|oncle|prof)|ma mere|mes parents|lui\b|elle\b|eux\b|coups|retourner"
            r"|qu'il (?:me|revienne|vienne|recommence))"
        ),
        False,
    ),
    (
        "bruises",
        "bleus|hematomes|marques|traces|coups",
        (
            r"\b(?:des|plein de|couverte? de|mes|les) (?:bleus|hematomes|marques|traces)\b(?= (?:partout"
            r"|sur|au|aux|dans|que|a |de coups)| ?[.,!]| ?$)|\bcoups de (?:ceinture|poings?|pieds?|baton"
            r"|martinet|cable)"
        ),
        True,
    ),
    (
        "mine_are_beaten",
        "mere|frere|soeur|maman",
        (
            r"\b(?:(?:frapp|cogn|menac|tabass|etrangl|gifl|insult|tap)(?:e|ait|ent|aient|es)|bat|battait"
            r"|viol(?:e|ait)) (?:\w+ )?"
            rf"{_MINE}"
        ),
        False,
    ),
    (
        "drunk_at_home",
        "pere|mere|parents|papa|maman",
        (
            r"\b(?:mon pere|ma mere|mon beau[ -]pere|mes parents|papa|maman) (?:\w+ ){0,4}(?:boi\w+"
            r"|rentre\w* (?:bourre|ivre|soul)|alcoolique|se bat\w*|se tapent|casse tout|pete les plombs"
            r"|nous fait peur|me fait peur)"
        ),
        False,
    ),
    (
        "sexual",
        "attouch|inceste|viol|abus|agression",
        r"\b(?:attouchements?|inceste|viol(?:ee?s?)?|abuse(?:e|r)? de|abus sexuels?|agression sexuelle)\b",
        True,
    ),
    (
        "sexual_acts",
        "main|trucs|choses|coucher|couche|consent|accord|non|voulais|dormais|bu",
        (
            r"\bmain (?:sur|dans|entre|sous) (?:la|ma|mes|les) (?:cuisses?|fesses|seins|culotte|jambes"
            r"|jupe)|\b(?:fait|fais|faisait|fasse) des (?:trucs|choses) (?:\w+ )?(?:sexuel\w*|bizarres?"
            r"|sales?|que je|quand j'etais|la nuit|d'adulte)"
            r"|\b(?:m'oblige|me force|m'obligent|me forcent|oblige|forcee?|obligee?) .{0,20}coucher"
            r"|\bcouche\w* avec (?:des gens|des hommes|eux|des inconnus|un adulte"
            r"|un vieux) .{0,20}(?:argent|cadeaux)?"
            r"|\b(?:sans mon (?:accord|consentement)|j'ai dit non|je disais non|je voulais pas"
            r"|j'etais pas d'accord|j'ai pas ose dire non|je dormais|j'avais bu)\b.{0,50}\b(?:il a|il m'a"
            r"|il|ils ont|mais|elle a|continu|quand meme)\b.{0,30}(?:continu|fait|touch|quand meme|force"
            r"|embrass|deshab)"
        ),
        True,
    ),
    (
        "images",
        "nude|photo|video|sextape|pics|porn|chant|menac",
        (
            r"\b(?:nudes?|photos? (?:de moi )?(?:nue?s?|intimes?|denudee?s?|en sous[ -]vetements)"
            r"|videos? (?:de moi )?(?:intimes?|nue?)|sextapes?|dick ?pics?|revenge porn)\b"
            r"|\bfai[st]\w* (?:du )?chant(?:er|age)\b"
            r"|\bmenac\w+ (?:\w+ )?(?:de |d')(?:\w+ )?(?:poster|publier|envoyer|montrer|balancer|diffuser"
            r"|me |tuer|frapper|tout|venir)"
        ),
        True,
    ),
    (
        "violent_home",
        ("violent|frappe|crie|bat|tape|cou|cheveux|force|enferm|retenue|nous tue|peur que|sortir|coups|marques"),
        (
            r"\b(?:mon|ma|mes|papa|maman) ?(?:beau[ -]|belle[ -]|grand[ -])?(?:pere|mere|parents|frere"
            r"|oncle|copain|mec|ex|mari)? ?(?:\w+ )?(?:est|sont|devient|deviennent) (?:\w+ )?violente?s?\b"
            r"|\bchez (?:moi|nous) .{0,30}\b(?:frappe|tape|cogne|se bat|hurle)|\b(?:mains?"
            r"|doigts) autour (?:de mon cou|du cou)|\b(?:tire|tirait|tirent"
            r"|arrache\w*) (?:\w+ )?les cheveux|\bprise? de force|\b(?:embrass\w*|deshab\w*|touch\w*"
            r"|pris\w*) (?:\w+ )?(?:de force|sans me demander|contre (?:mon gre|ma volonte))|\b(?:retenue?"
            r"|enferm\w+|sequestr\w+) (?:chez|dans ma|a la maison)|\b(?:on|ils|mes parents"
            r"|mon pere) .{0,12}(?:laissent?|laisse) (?:pas|plus|jamais) sortir\b|\bpeur (?:que"
            r"|qu') ?.{0,25}(?:me|nous|la|les) (?:tue|frappe|tape|viole|batte|retrouve|fasse du mal)"
        ),
        True,
    ),
    (
        "done_to_me_more",
        ("pouss|caress|embrass|genoux|pince|prive|tire|control|vole|jete"),
        (
            r"\b(?:il|elle|on|ils|papa|maman|pere|mere|oncle|frere|copain|mec|ex|prof|garcon|gars|type"
            r"|homme|surveillant|filles|garcons|terminales|eleves)s? (?:[\w']+ ){0,8}?(?:me |m')(?:a "
            r"|ont )?(?:\w+ )?(?:pouss\w+ (?:dans|contre|par terre|du)|caress\w+|embrass\w+ de|pinc\w+ les"
            r"|prive\w* de (?:repas|manger|nourriture|sortie)|volent (?:mon|mes)|jet\w+ (?:par terre"
            r"|contre|des|dessus|dehors)|attach\w+|lanc\w+ (?:des|dessus))|\bassise? sur ses genoux"
            r"|\bm'asseoir sur ses genoux|\bcontrole (?:mon (?:tel\w*|portable)|tout ce que je"
            r"|mes messages|avec qui)"
        ),
        True,
    ),
    (
        "was_abused",
        "abus|agress|viol",
        (
            r"\bj'ai (?:\w+ )?ete (?:\w+ )?(?:abusee?|violentee?|victime|prise? de force)"
            r"|\bsur un enfant\b.{0,20}je"
        ),
        False,
    ),
    (
        "child_in_danger",
        "bat |battent|frappe|tape|marques|maltrait|crie",
        (
            r"\b(?:voisine?s?|pere|mere|parents|oncle|beau[ -]pere|famille|nounou) (?:\w+ ){0,4}(?:bat"
            r"|battent|frappe\w*|tape\w*|maltrait\w+|enferm\w+) (?:\w+ )?(?:ses|leurs?|son|sa|les|la|le|l'"
            r"|un|une) ?(?:\w+ )?(?:enfants?|fils|fille|bebe|gosses?|femme|petite?s?)"
        ),
        False,
    ),
    (
        "bodily_harm",
        ("casse|broken|plaque|secou|etouff|mord|pied|plie|bouscul|croche|crache|pousse"),
        (
            r"\bm'a (?:casse|brise|fracture|deboite|ouvert|tordu|mordu|ebouillante|brule) (?:le|la|les|un"
            r"|une|l')|\b(?:me|m'a|m'ont|on me|ils me) (?:\w+ )?(?:bouscul\w+|plaqu\w+ (?:contre|au sol)"
            r"|etouff\w+ avec|secou\w+|croche[- ]?patte|balanc\w+ (?:des|contre|par terre))"
        ),
        True,
    ),
    (
        "watched",
        "douche|regarde|deshabill|filme|sous-vetement|nue",
        (
            r"\b(?:pere|oncle|frere|prof|entraineur|voisin|cousin|homme|type|mec|il|gars"
            r"|garcons?) (?:\w+ ){0,3}(?:me|m'|nous) ?(?:a |ont )?(?:regard\w+|film\w+|mat\w+|espion\w+"
            r"|photographi\w+) .{0,25}(?:douche|nue?\b|toilettes|vestiaires?|deshabill\w*|dormir"
            r"|salle de bain)|\bm'(?:a|ont) (?:deshabill\w+|mise? nue?|filme\w* (?:nue?|dans|sous"
            r"|pendant))|\b(?:traine|rode|guette|filme|photographie) .{0,30}(?:devant chez moi|chez moi)"
            r"|\bdevant chez moi\b.{0,40}(?:filme|suit|attend|peur|guette|tous les)"
        ),
        True,
    ),
    (
        "blackmail",
        "photos|video|envoie|sinon|chantage|nude",
        (
            r"\b(?:veut|demande|exige|insiste|force|oblige) (?:\w+ ){0,3}(?:que je |de )(?:lui )?(?:envoie"
            r"|envoyer|montre|montrer) .{0,30}(?:photos?|videos?|nudes?|corps|seins|nue?)|\b(?:a"
            r"|ont) (?:envoye|poste|publie|diffuse|partage|balance|montre"
            r"|fait tourner) (?:\w+ ){0,2}(?:mes|des) (?:photos?|videos?|nudes?|messages) ?(?:de moi"
            r"|a tout|a toute|sur|partout|au|intimes?)|\bsinon il (?:dit|balance|poste|publie|montre"
            r"|envoie)"
        ),
        True,
    ),
    (
        "unwanted_child",
        "erreur|abandon|aime pas|jamais du|aurait du|rien",
        (
            r"\b(?:mere|pere|parents?|maman|papa) .{0,20}(?:me (?:dit|disent"
            r"|repete\w*)) .{0,25}(?:une erreur|sert\w* a rien|je vaux rien|naitre|m'abandonner|honte"
            r"|me deteste|me hait|disparaitre|une merde|mourir)"
        ),
        True,
    ),
    (
        "nicknames",
        "appelle|surnom|insulte|depuis",
        (
            r"\b(?:on m'appelle|ils m'appellent|elles m'appellent|tout le monde m'appelle"
            r"|me surnomment) .{0,25}(?:grosse?|thon|pute|sale|pd|pedale|moche|monstre|baleine|clochard"
            r"|intello|salope|suceuse|bouffon|cassos|gouine|singe)"
        ),
        True,
    ),
    (
        "pressed_into_crime",
        "drogue|deal|voler|garder|argent|menace",
        (
            r"\b(?:forcent?|forcer?|obligent?|oblige|pression pour) .{0,15}(?:voler|garder|vendre|dealer"
            r"|transporter|livrer|cacher|deposer)|\bdois (?:de l'argent|\d+ euros) .{0,30}(?:deal\w*|gars"
            r"|mecs|types|menac)|\bmenac\w+ (?:de )?(?:ma|mon|notre) famille"
        ),
        True,
    ),
    (
        "friend_told",
        "violer|viole|frapp|toucher|abus|agress|harcel",
        (
            r"\b(?:m'a|nous a|m'ont) (?:avoue|dit|confie|raconte|ecrit) .{0,25}(?:(?:s'etait|s'est"
            r"|se) fai(?:t|sait) (?:violer|frapper|taper|toucher|agresser|harceler|battre)|(?:viol|frapp"
            r"|touch|abus|batt|agress|harcel)\w*)"
        ),
        False,
    ),
    (
        "cornered",
        ("coince|bloque|attrap|plaque|isole|force|claque|gifle|baffe|touche|toilettes|cach"),
        (
            r"\b(?:m'a|m'ont|me) (?:\w+ )?(?:coinc\w+ (?:dans|contre|au|derriere)|bloqu\w+ (?:dans|contre)"
            r"|attrap\w+ (?:par|les|le|la)|suivie? (?:dans|jusqu)|attendue? a la sortie)"
            r"|(?<!personne )(?<!rien )\bme force(?:nt)?\b(?: et| mais| quand| a chaque|,|$)"
            r"|\bose pas (?:lui )?(?:dire non|refuser|en parler|le dire)|\b(?:mis|met|mettent|foutu"
            r"|colle) des (?:claques|gifles|baffes|coups|tartes)|\bils? (?:\w+ )?me touch(?:e|ent) (?:en"
            r"|dans|a|au|pendant)|\bmange (?:seule? )?(?:aux|dans les) toilettes\b"
            r"|\bme cache .{0,30}(?:toilettes|cantine|qu'ils|pour pas qu)"
        ),
        True,
    ),
    (
        "forced_marriage",
        "marier|mariage|excis",
        (
            r"\b(?:me|ma soeur|la|m') ?(?:\w+ )?marier (?:de force|avec un (?:homme|cousin|vieux|inconnu)"
            r"|au bled|contre|l'ete)|\b(?:renv\w+|envoy\w+|emmen\w+|retourner) .{0,20}(?:bled"
            r"|pays)\b.{0,30}mari|\b(?:veut|veulent|oblige\w*|forc\w+) .{0,15}(?:a )?me marier"
            r"|\bmariage force\b.{0,40}(?:moi|mes parents|soeur)|\bexcis\w+"
        ),
        True,
    ),
    (
        "friend_suffers",
        ("frapp|tape|batt|harcel|viol|agress|rackett|insult|tabass|touch|victime|force|menac|maltrait|cyber|humili"),
        (
            rf"{_CLOSE} {_w(6)}(?:se fai[st]|se font|s'est fait|se faisait|est|subit|a ete"
            rf"|s'est) {_w(3)}(?:frapp\w+|taper|tape\b|battre|battue?|harcel\w+|violer?e?\b|agress\w+"
            r"|rackett?\w+|insulter|tabass\w+|toucher|victime|forcer?e?|menac\w+|maltrait\w+|cyber\w+"
            r"|humili\w+)"
        ),
        False,
    ),
    (
        "friend_beaten_by",
        "frapp|tap|bat|cogn|viol|touch|forc|menac|insult|harcel|enferm",
        (
            r"\b(?:son|le) (?:pere|beau[ -]pere|mec|copain|ex|oncle|frere|mari) (?:la|le|l'a?) ?(?:frapp"
            r"|tap|bat|cogn|viol|touch|forc|menac|insult|harcel|enferm)\w*"
        ),
        False,
    ),
)

_DANGER: tuple[tuple[str, str, str, bool], ...] = (
    (
        "eats_nothing",
        "mang",
        (
            r"\bj(?:e |')(?:ne |n'|n'ai |ai )?(?:\w+ ){0,3}?mang(?:e|é|er|eais|ee) (?:\w+ ){0,2}?(?:plus"
            r"|rien|a peine)\b(?! de | d'| que | a la | au | en )"
        ),
        False,
    ),
    (
        "eating",
        "vomi|repas|jours|calorie|maigri|perdu|anorex|boulim|trouve|evanoui|malaise|pommes",
        (
            r"\b(?:me fais|me faire|m'oblige a|je) (?:\w+ )?vomi(?:r|s)\b.{0,30}(?:apres (?:manger|chaque"
            r"|les|avoir)|tout ce|repas|chaque)|\bsaute (?:tous )?(?:les|mes) repas|\bjours? (?:que"
            r"|sans) (?:[\w']+ ){0,4}mang\w+|\bcompte (?:chaque|toutes les|les) calories"
            r"|\b(?:j'ai|je) (?:\w+ ){0,3}(?:maigri|perdu \d+ ?(?:kg|kilos?))|\b(?:je suis|ma|mon"
            r"|je fais de l'|je crois que je suis) ?(?:\w+ )?(?:anorexi\w+|boulimi\w+)"
            r"|\bje me trouve (?:\w+ ){0,3}(?:grosse?|enorme|obese)\b"
            r"|\bje (?:m'evanouis|fais des malaises|tombe dans les pommes)"
        ),
        True,
    ),
    (
        "friend_eats_nothing",
        "mange|vomir|maigri|anorex|affame",
        (
            rf"{_CLOSE} {_w(4)}(?:mange (?:presque |quasi )?(?:plus|rien)|se fait vomir|maigrit|a (?:trop "
            r"|beaucoup )?maigri|est anorexique|s'affame)\b"
        ),
        False,
    ),
    (
        "overdose",
        "medicament|medoc|cachet|pilule|comprime|somnifere|boite|antidep|xanax|doliprane|anxiolyt|produit",
        (
            r"\bj(?:e |')(?:ai |viens de |veux |vais |vais tout |voudrais )?(?:\w+ ){0,2}?(?:aval\w+"
            r"|compte|cache|stocke|garde|pris|prends|prendre|gob\w+|bouff\w+|vide) (?:\w+ ){0,2}?(?:des"
            r"|plein de|tous|toute|trop de|une boite|les|beaucoup de|la boite|\d+|plusieurs"
            r"|deux boites) ?(?:\w+ ){0,3}?"
            r"(?:medicaments?|medocs?|cachets?|pilules?|comprimes?|somniferes?|boites?|antidepresseurs?"
            r"|xanax|dolipranes?|anxiolytiques?|produits?)"
        ),
        False,
    ),
    (
        "substances",
        "prends|bois|fume|picole|bourre|sniffe|defonce|drogue|accro|dependant|addict|pique",
        (
            r"\bje (?:\w+ )?prends (?:des|plein de|de la|du|ces) (?:trucs?|cachets?|pilules?|drogues?|coke"
            r"|shit|medocs?|medicaments|xanax|ecsta\w*|poudre|taz|proto"
            r"|ballons?) ?.{0,40}(?:pour (?:dormir|tenir|oublier|plus|supporter)|de plus en plus|tous les"
            r"|chaque|arreter|sans savoir|depuis)"
            r"|\bje (?:\w+ )?(?:bois|fume|picole|me bourre|sniffe|me defonce|me drogue)\b(?!.{0,15}(?:cafe"
            r"|\bthe\b|eau\b|lait|chocolat|coca|monster|red ?bull|soda|jus)).{0,40}(?:pour (?:oublier"
            r"|dormir|tenir|supporter|plus)|de plus en plus|toute? seule?|arrive (?:plus|pas) a (?:arreter"
            r"|m'arreter)|en cachette)"
            r"|\bje (?:\w+ )?(?:bois|fume) (?:de l'alcool|de la vodka|du whisky|du shit|de la beuh"
            r"|des joints|des petards)\b.{0,30}(?:tous les|chaque|avant)"
            r"|\bje suis (?:\w+ )?(?:accro|dependante?|addict\w*) (?:a|au|aux) (?:l'alcool|la drogue|shit"
            r"|joints?|cachets|medocs|crack|coke|xanax|ballons?|la coke)|\bje me (?:drogue|pique)\b"
        ),
        False,
    ),
    (
        "runs_away",
        "chez|maison|fugu",
        (
            r"\bje (?:me )?(?:\w+ ){0,3}?(?:pars|me barre|me casse|me tire|m'enfuis|partir|me barrer"
            r"|me casser|me tirer|m'enfuir|quitter|quitte|sauver|sauve|suis enfuie?|suis (?:barree?"
            r"|cassee?|sauvee?|tiree?)) (?:\w+ ){0,3}?(?:de )?(?:chez (?:moi|mes|ma|mon|eux)"
            r"|la maison)\b(?! (?:a|vers|tot|tard|pour aller|a \d))"
            r"|\b(?:je|j'ai|j') ?(?:\w+ ){0,4}?fugu\w+|\bfugue\b.{0,30}\b(?:ce soir|demain|cette nuit)"
        ),
        False,
    ),
    (
        "no_roof",
        "dormir|dors|dort|vis|vit|dehors|porte|rue|chez",
        (
            r"\b(?:ou|endroit pour|endroit ou|toit pour) dormir\b|\b(?:je|on) (?:dors|dort|vais dormir|vis"
            r"|vit) (?:\w+ )?(?:dehors|dans la rue|dans (?:une|la|ma|notre) voiture|a la rue)"
            r"|\b(?:m'a|m'ont|me|je suis|ils m'ont) (?:\w+ )?(?:mise?|viree?|jetee?|foutue?|mettre|foutre"
            r"|mis) (?:dehors|a la porte|a la rue|de chez)"
        ),
        True,
    ),
    (
        "panic",
        "crise|etouffe|deviens",
        (
            r"\bcrises? (?:d'angoisse|de panique|ou j'etouffe|de larmes)|\bj'etouffe\b.{0,60}\bseule?\b"
            r"|\bje crois que je deviens (?:folle|fou)\b.{0,60}seule?|\bcrises?\b.{0,20}\bj'etouffe"
        ),
        True,
    ),
    (
        "voices",
        "voix",
        (
            r"\bj'entends (?:des|les) voix\b(?! (?:de|des))|\b(?:des|les|la) voix (?:\w+ )?(?:me (?:disent"
            r"|dit|parlent|ordonne)|dans ma tete)"
        ),
        False,
    ),
    (
        "threatened_with_death",
        "va me|vont me|veut me|veulent me|allait me",
        (
            r"\b(?:dit|disent|jure|ecrit|repete|promis|menace) .{0,25}(?:va|vont|veut|veulent|allait"
            r"|allaient) (?:\w+ )?me (?:tuer|frapper|buter|tabasser|planter|egorger|defoncer|violer|taper"
            r"|casser|retrouver)|\b(?:veut|veulent) me (?:frapper|buter|tabasser|planter|egorger|violer"
            r"|taper)"
        ),
        False,
    ),
    (
        "in_my_room",
        "chambre",
        (
            r"\b(?:vient|entre|venait|viens|rentre) (?:\w+ )?(?:dans"
            r"|me voir dans) ma chambre\b.{0,30}(?:nuit|soir|dor|quand|et )"
        ),
        True,
    ),
    (
        "unconscious",
        "inconscient|reveille|respire|coma|overdose",
        (
            r"\b(?:trouve|retrouve|est|maman|mere|pere|pote|amie?|frere|soeur)\b.{0,25}\binconsciente?\b"
            r"|\b(?:se reveille|repond|respire) (?:plus|pas)\b.{0,30}(?:aide|quoi|peur|alcool|cachets"
            r"|par terre)|\boverdose\b"
        ),
        True,
    ),
    (
        "poison",
        "javel|poison|alcool|produit|medoc|cachets|medicament",
        (
            r"\bj'ai (?:\w+ )?(?:bu|avale|pris) (?:\w+ ){0,3}(?:javel|poison|produit menager|acide"
            r"|detergent|mort aux rats)|\bpris (?:trop|plein|beaucoup) (?:de |d')(?:cachets|medicaments"
            r"|medocs|alcool|somniferes|drogue)"
        ),
        False,
    ),
    (
        "friend_in_danger",
        ("enceinte|drogu|fugu|alcool|dehors|mange|anorex|deal|disparu|prostit"),
        (
            rf"{_CLOSE} (?:\w+ ){{0,3}}(?:est enceinte|se drogue|se pique|a fugue|veut fuguer|dort dehors"
            r"|se prostitue|boit tous|prend de la (?:coke|drogue)|deale|est tombee? dans la drogue"
            r"|ne mange plus)\b"
        ),
        False,
    ),
    (
        "no_appetite",
        "appetit|pomme|kg|kilos|maigrir|vomis|affame|jeun|manger",
        (
            r"\b(?:plus|pas|aucun) d'?(?: ?d')?appetit\b.{0,60}(?:jour|semaine|mange|kilos?|kg)"
            r"|\b(?:je fais|je pese|je suis a) \d\d ?(?:kg|kilos?)|\bvomis (?:tout|presque tout|chaque"
            r"|ce que)|\bje (?:m'affame|me prive de manger|jeune depuis)|\bpeur de (?:manger|grossir)\b"
            r"|\bmange (?:qu'|une? |deux |rien qu').{0,25}par jour"
        ),
        True,
    ),
    (
        "drinks_alone",
        "bois|bourre|alcool|fumer|boire|defonce",
        (
            r"\bje bois (?:tous les (?:soirs|jours)|chaque soir|le matin|en cachette|seule?)"
            r"|\bbesoin (?:de |d')(?:fumer|boire|alcool|me defoncer|un verre) .{0,20}(?:pour (?:supporter"
            r"|tenir|dormir|oublier|vivre|affronter))"
        ),
        False,
    ),
    (
        "left_home",
        "chez moi|chez mes|maison|gare|dehors|porte|expuls",
        (
            r"\bje suis (?:partie?|sortie?|enfuie?) de (?:chez (?:moi|mes|ma|mon)|la maison)\b(?! (?:a \d"
            r"|vers|tot|tard|ce matin))|\b(?:fait|ete|me suis fait) (?:\w+ )?(?:mettre|foutre|virer|jeter"
            r"|expulser|expulsee?s?) ?(?:dehors|a la porte|a la rue|de chez)?\b.{0,40}(?:dehors|porte|rue"
            r"|chez|hier|dort|dors|appart|logement)|\bexpuls\w+ .{0,30}(?:dort|dors|voiture|rue|hotel)"
        ),
        True,
    ),
    (
        "took_pills",
        "medicament|cachets|medocs|boite|pilules|somnifere",
        (
            r"\b(?:a|ai|vient de|viens de|envie d'|envie de|vais|veut|veux) ?(?:pris|prendre|aval\w+"
            r"|gob\w+) (?:\w+ ){0,3}(?:medicaments|medocs|cachets|pilules|somniferes|la boite"
            r"|boite entiere)\b(?! (?:pour|contre) (?:la|le|mon|mal|les) (?:rhume|tete|gorge|allerg))"
        ),
        False,
    ),
    (
        "breathless",
        "respirer|souffle|poitrine",
        (r"\barrive (?:plus|pas) a respirer\b|\bje (?:peux plus|n'arrive plus a) respirer"),
        True,
    ),
    (
        "kills_in_rage",
        "tuer|frapper|etrangler|planter|poignarder",
        (
            r"\bje (?:veux|vais|voudrais|pourrais|compte) (?:\w+ )?(?:tuer|poignarder|planter|buter"
            r"|egorger) (?:mon (?:pere|beau[ -]pere|oncle|prof|ex)|ma (?:mere|prof|belle[ -]mere)"
            r"|mes parents|quelqu'un|tout le monde|des gens|les gens|un prof|une fille|un mec"
            r"|ceux)\b(?! (?:s'il|si |avec|en rigol|quand))|\benvie de (?:frapper|tuer|etrangler"
            r"|planter) (?:mon pere|ma mere|mes parents|quelqu'un|les gens|tout le monde)\b"
        ),
        False,
    ),
    (
        "fainted",
        "pommes|evanoui|malaise",
        (
            r"\b(?:je (?:suis|tombe)|j'ai fait) (?:\w+ ){0,2}(?:tombee? )?(?:\w+ )?(?:dans les pommes"
            r"|evanouie?|(?:des|un) malaises?)\b.{0,60}|\barrete de manger\b"
        ),
        True,
    ),
    (
        "slept_outside",
        "dormi|nuit",
        (
            r"\b(?:j'ai|on a) (?:\w+ )?(?:dormi|passe la nuit) (?:a la gare|dehors|dans (?:la|une) (?:rue"
            r"|voiture|cave|hall|cage)|sous)"
        ),
        False,
    ),
    (
        "drunk_now",
        "vodka|whisky|bouteille|alcool|rhum",
        (
            r"\bj'ai (?:\w+ )?(?:bu|vide|fini|descendu) (?:\w+ ){0,3}(?:bouteille|litre|vodka|whisky|rhum"
            r"|alcool)\b.{0,40}(?:mal|tourne|vomi|seul|aide|bizarre|cachets)"
        ),
        False,
    ),
    (
        "spiked",
        "verre|ghb|drogue",
        (
            r"\bmis (?:un truc|quelque chose|du ghb|une drogue|de la drogue) dans (?:mon|ma|son) (?:verre"
            r"|boisson|cocktail)|\bj'ai ete droguee?"
        ),
        False,
    ),
    (
        "summoned",
        "hotel|chez lui|rejoindre|rencontrer|secret",
        (
            r"\b(?:mec|homme|gars|type|adulte|inconnu|quelqu'un|contact) .{0,40}(?:me (?:demande|propose"
            r"|dit)|veut) .{0,20}(?:rejoindre|venir|rencontrer|voir|retrouver) .{0,20}(?:hotel|chez lui"
            r"|en secret|seule?|sans (?:le )?dire)"
        ),
        True,
    ),
    (
        "armed",
        "arme|couteau|flingue|brul|grave|explos",
        (
            r"\b(?:a|avait|ramene|cache) (?:une arme|un couteau|un flingue|un pistolet) (?:dans|sur|sous|a"
            r"|avec)|\bsort(?:i|ait|ir)? (?:un|le|son) (?:couteau|flingue|arme)|\b(?:truc"
            r"|chose) (?:de )?grave (?:au|dans|a) (?:lycee|bahut|college|cours)|\b(?:tout )?(?:bruler"
            r"|faire (?:sauter|exploser)) (?:le|au|son|mon)? ?(?:lycee|bahut|college|classe)"
        ),
        False,
    ),
    (
        "not_waking",
        "se reveille|reagit|respire|disparu|nouvelles",
        (
            r"\b(?:mere|pere|maman|papa|frere|soeur|pote|amie?|copine|copain|grand[- ]\w+) (?:\w+ )?(?:ne "
            r"|n')?(?:se reveille|reagit|bouge|respire|repond) (?:pas|plus)\b(?! (?:drole|a mes|aux"
            r"|en cours))|\b(?:mere|pere|maman|papa|frere|soeur|amie?|pote|copine|copain) (?:a"
            r"|est) (?:disparue?|partie? depuis|portee? disparue?)"
        ),
        False,
    ),
    (
        "followed",
        "suit|suivent|attend|suivi|colle|abord|monte",
        (
            r"\b(?:homme|mec|type|gars|inconnu|voiture|vieux|bonhomme|monsieur)s? (?:\w+ ){0,4}?(?:me suit"
            r"|me suivent|m'attend|m'a suivie?|nous suit|me colle|m'a abordee?|veut que je monte)"
        ),
        False,
    ),
    (
        "weapon",
        (
            "couteau|flingue|arme|pistolet|cutter|fusil|bombe|machette|marteau|planter|poignarder|buter"
            "|tuer|tirer|attentat|tuerie|fusillade"
        ),
        (
            r"\b(?:ramen\w+|apport\w+|amen\w+|emmen\w+|veni\w*|vien\w+|cach\w+|achet\w+|pris|prendre|a un"
            r"|j'ai un|avec un) (?:\w+ ){0,3}?(?:couteau|flingue|arme|pistolet|cutter|fusil|bombe|machette"
            r"|marteau)\b.{0,50}"
            r"(?:lycee|bahut|cours|ecole|college|classe|venger|tuer|planter|demain|sac)|\b(?:tous les|le"
            r"|la|les) (?:planter|poignarder|buter|tuer|tirer dessus) (?:\w+ ){0,3}(?:demain|ce soir"
            r"|au lycee|a la sortie|pour de vrai|vraiment)"
            r"|\b(?:attentat|tuerie|fusillade)\b.{0,30}(?:mon|notre|au|dans le) (?:lycee|bahut)"
        ),
        False,
    ),
    (
        "missing",
        "trouve|nouvelles|repond|fugu|dispar|enfui|partie",
        (
            r"\b(?:partie?|disparue?|fugue\w*|rentree?) .{0,60}(?:(?:la|le|l'a|l') ?(?:re)?trouve (?:pas"
            r"|plus|nulle)|(?:aucune|plus de|pas de) nouvelles|repond (?:pas|plus))\b(?! (?:drole|si|aussi"
            r"|tres))|\b(?:ma|mon) (?:\w+ )?(?:soeur|frere|amie?|copine|pote|cousine?) (?:a|est"
            r"|s'est) (?:fugue\w*|disparue?|enfuie?|partie? de la maison)"
        ),
        True,
    ),
    (
        "stranger_online",
        "inconnu|adulte|homme|mec|type|gars|monsieur|quelqu|rencontr|retrouver|rejoindre|rendez|rdv",
        (
            r"\b(?:inconnu|adulte|homme|mec|type|gars|monsieur|quelqu'un) (?:[\w']+ ){0,8}?(?:veut (?:me"
            r"|qu'on|que je) |m'a donne rendez|me donne rendez|me propose (?:de l'argent|des cadeaux"
            r"|de venir|un rdv)|m'offre|m'a propose)(?:[\w']+ ){0,3}?(?:rejoi\w+|voi\w+|photos?"
            r"|rencontr\w+|vien\w+|argent|cadeaux|vous|seule?|hotel|chez lui|venir|envoie|cam\b|nue?)?"
            r"|\b(?:rencontrer|retrouver|rejoindre|rendez[ -]vous avec"
            r"|rdv avec) (?:[\w']+ ){0,4}(?:inconnu|rencontree? (?:sur|en)|de \d\d ans|trouve sur)"
        ),
        True,
    ),
    (
        "pregnant",
        "enceinte|regles|test",
        (
            r"\bje (?:suis|crois (?:que je suis|etre)|pense etre|suis peut[ -]etre) (?:\w+ )?enceinte"
            r"|\bretard de regles|\b(?:regles|test) .{0,30}(?:retard|positif)"
        ),
        True,
    ),
    (
        "depressed",
        "depress|psy|hospital",
        (
            r"\bje (?:suis|fais|sors|sombre|tombe) (?:\w+ ){0,2}?(?:en |une |dans une |de "
            r"|dans la )?depress\w+|\b(?:mon|ma) (?:psy|depression|antidepresseur\w*"
            r"|hospitalisation)\b.{0,60}(?:arret|sert|plus|peur|veux)"
        ),
        False,
    ),
    (
        "at_the_end",
        "bout|tiens|peux",
        (
            r"\bje suis (?:vraiment |completement )?a bout\b(?! de (?:souffle|mes (?:exos|revisions)))"
            r"|\bau bout du rouleau|\bje (?:ne )?tiens (?:vraiment )?plus(?: le coup)?(?= ?[.,!]| ?$)"
            r"|\bj(?:e n')?'?en peux (?:vraiment )?plus\b.{0,40}(?:aide|personne|seule|tout|chez moi"
            r"|pleur)"
        ),
        True,
    ),
    (
        "cries",
        "pleure",
        (
            r"\bje pleure (?:\w+ )?(?:tous les|toutes les|chaque|tout le temps|sans arret|toute la"
            r"|des heures|en cachette)"
        ),
        False,
    ),
    (
        "hungry",
        "manger",
        (
            r"\bon a (?:plus|pas|rien) (?:rien )?a manger|\b(?:rien|plus rien|pas) a manger (?:chez (?:moi"
            r"|nous)|a la maison)"
        ),
        False,
    ),
)


def _rules(kind: Kind, rows: tuple[tuple[str, str, str, bool], ...]) -> tuple[Rule, ...]:
    return tuple(
        Rule(name, kind, frozenset(needs.split("|")), re.compile(pattern), first)
        for name, needs, pattern, first in rows
    )


RULES = _rules("self_harm", _SELF_HARM) + _rules("violence_suffered", _VIOLENCE) + _rules("other_danger", _DANGER)

# Taken out before the rules look: they say something else.
IDIOMS = re.compile(
    r"\b(?:mour\w+|meur\w+|morte?s?|crev\w+|decedee?) (?:de |d')(?:rire|honte|faim|soif|chaud"
    r"|chaleur|froid|fatigue|sommeil|trouille"
    r"|jalousie|curiosite|ennui|peur|envie|stress|rir|amour|vieillesse)\b"
    r"|\bme tuer? (?:au travail|a la tache|les yeux|le dos)|\btuer le temps|\bcoup\w+ (?:la parole"
    r"|l'appetit|du monde|l'herbe|court|les cheveux|les ongles|le son|internet|mon tel)"
    r"|\b(?:prefere|prefererais|plutot) (?:\w+ )?(?:mourir|crever) (?:que|plutot que) (?:de "
    r"|d')?(?!continuer|vivre|rentrer|rester|retourner chez|souffrir|cette vie)[\w']+"
    r"|\benvie de (?:mourir|disparaitre|crever) (?:quand|tellement) (?:\w+ ){0,4}(?:gene|honte"
    r"|malaise|prof|exo|copie|notes?)"
    r"|\bje vais me (?:pendre|tuer|suicider|flinguer|jeter par la fenetre) si (?:j'ai|on a|y a"
    r"|il y a|vous|tu|je dois|je refais|le prof|la prof) (?:\w+ )?(?:encore|me|nous|re\w+)"
    r"|\bdisparaitre (?:sous terre|dans un trou de souris)|\bmdr\b|\bptdr\b"
)
# A sentence about somebody who does not exist.
FICTION = re.compile(
    r"\b(?:mon|ma|mes|le|la|un|une|les|ce|cette) (?:personnages?|heros|heroines?|narrat\w+"
    r"|protagonistes?)\b"
    r"|\bdans (?:mon|ma|le|la|un|une|ce|cette|l'|les|son) ?(?:histoire|nouvelle|roman|film|serie"
    r"|piece|livre|chanson|poeme|manga|jeu"
    r"|tragedie|bd|anime|conte|mythe|fable|extrait|texte)\b|\bpour (?:un|mon|ma|une) (?:roman"
    r"|nouvelle|scenario|court[ -]metrage|piece)\b"
)
# « Si je veux mourir par amour de moi, ma maxime… »: an example of the course, not a wish.
EXERCISE = re.compile(
    r"\bsi (?:je|on|quelqu'un|un|une)\b.*\b(?:suis[- ]je|est[- ]on|sommes[- ]nous|est[- ](?:il"
    r"|elle)|ai[- ]je|puis[- ]je|dois[- ]je)\b|\b(?:peut|doit|faut|a[- ]t)[- ](?:on|il) \w+(?:er"
    r"|ir|re)? (?:a )?(?:celui|ceux|quelqu'un|celle)|\bsi (?:je|on)\b.*\b(?:maximes?|universel\w*"
    r"|imperatif|selon|d'apres|contradict\w*|stoicien\w*|kant|categorique)\b"
)
FIRST_PERSON = re.compile(r"\b(?:je|me|moi|ma|mon|mes|nous|mienne?)\b|\b[jm]'")
TOPIC = re.compile(
    r"\b(?:suicid\w*|mort\w*|mourir|meur\w*|tuer|tue\w*|meurtr\w*|assassin\w*|violen\w*|viol(?:s"
    r"|eur\w*)?|harcel\w*|scarifi\w*|drogu\w*"
    r"|haine|hair|tortur\w*|guerres?|euthanasie|execut\w*|desespoir|depress\w*|anorexi\w*"
    r"|souffr\w*|cruaute)\b"
)
