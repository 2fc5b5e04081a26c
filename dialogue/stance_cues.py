"""The cues of a stance: French as pupils type it, each with its negation and scope. Knows no model and no weight."""

import re
from collections.abc import Mapping

_SPOKEN = (
    r"(?:comprend\w*|compri[st]\w*|pig\w+|capt\w+|voi[st]\b|saisi\w*|situe\w*|percute\w*"
    r"|imprime\w*|cern\w+|entrav\w+|reconnai\w+|imagine\w*|visualise\w*)"
)
_NO = r"(?:pas|plus|rien|jamais|que dalle|mal|qu'a moitie|keud|queud|pas grand[- ]chose|a peine)"
_CLAIM = (
    r"(?:votre|vos|ta|ton|tes|cette|ce) (?:\w+ )?(?:theorie|truc|delire|raisonnement|morale|idee"
    r"|image|exemple|comparaison|formule|phrase|histoire|argument|logique|definition|vision"
    r"|distinction|classement|philosophie|concept|metaphore|these|principe|loi|reponse)s?"
)

CUES: Mapping[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        # Lost.
        "not_understood": (
            rf"\b{_SPOKEN} (?:\w+ )?{_NO}\b(?! (?:le probleme|pourquoi (?:il faudrait|ce serait|on devrait)"
            r"|l'interet|en quoi c'est (?:mal|grave)))|\b(?:rien|pas|mal|jamais"
            rf"|plus) (?:\w+ )?(?:{_SPOKEN})(?! la vie)"
            r"|\b(?:arrive|parvien\w+|reussi\w+) (?:vraiment )?(?:pas|plus) (?:\w+ )?a (?:\w+ )?(?:voir"
            r"|comprendre|suivre|saisir|capter|imaginer|me representer|trouver le (?:lien|sens|rapport))"
            r"|\b(?:vous|te) suis (?:\w+ )?(?:pas|plus|mal)\b|\bsuis (?:pas|plus) (?:le|la|votre|ton|l'idee)\b"
            r"|\b(?:pas|plus|rien) suivi\b|\bpas (?:tout |bien |tres bien |trop |vraiment )(?:compris"
            r"|capte|pige|saisi|suivi)"
        ),
        "lost": (
            r"\b(?:perdue?s?|perds|paumee?s?|larguee?s?|a la ramasse|m'embrouill\w*|embrouillee?"
            r"|melange\w*|confond\w*|tourne\w* en rond|bloque\w*|nage\w*|galere\w*|patauge\w*|rame\b"
            r"|bug\w*|beug\w*|lost|decroche\w*|noyee?|dans le (?:flou|brouillard)|a l'ouest|depassee?"
            r"|seche\b|pige que|panne rien|lis et relis|relu\b|trop de mots|phrase trop)\b|\b(?:j'ai"
            r"|ai) (?:\w+ )?du mal (?:a|avec)\b|\bparle[zr]? (?:pas )?francais\b"
        ),
        "unclear": (
            r"\b(?:pas|peu|rien de) (?:\w+ ){0,2}(?:clair|claire|limpide|evident|simple)\b|\b(?:trop|super"
            r"|hyper|tres|vachement|grave|un peu) (?:\w+ )?(?:complique\w*|abstrait\w*|dur\w*|flou\w*"
            r"|vague\w*|chaud|complexe\w*|difficile\w*|tordue?|obscur\w*)\b|\b(?:charabia|chinois|hebreu"
            r"|latin|klingon|floue?|confuse?|obscure?|enigm\w+|aled|tete (?:qui )?(?:explose|tourne"
            r"|chauffe)|cerveau (?:fume|grille)|neurones|incomprehensible|kezako|kesako|quezaco"
            r"|prise de tete|mal (?:a la tete|au crane)|cerveau)\b|\bveut rien dire\b.{0,40}(?:aide"
            r"|expliqu|\?)"
        ),
        "dont_know": (
            r"\bje (?:ne )?(?:sais|savais) (?:pas|plus|meme pas|meme plus|vraiment pas|trop)(?: trop"
            r"| du tout| vraiment| bien)?(?: (?:quoi|ce que|comment|si|ou|lequel|laquelle|qui)\b)?"
            r"|\b(?:aucune idee|pas d'idee|sais plus|sais pas)\b"
        ),
        "meaning_asked": (
            r"\b(?:ca|cela|qui|quoi) (?:veut|veux|voudrait|signifie) (?:\w+ )?(?:dire )?(?:quoi"
            r"|au juste)\b|\bveut dire (?:quoi|ca|cette?)\b|\b(?:c'est|c est|c'etait) (?:quoi|qui|laquelle"
            r"|lequel)\b|\bqu'est[- ]ce (?:que|qu')? ?(?:ca|c'est|vous|tu|veut|cela)\b.{0,25}(?:dire"
            r"|entend\w*|quoi|signifi\w*)?|\b(?:que|qu') ?(?:voulez|veux|entend\w*)[- ](?:vous|tu)"
            r"|\b(?:vous|tu) (?:voulez|veux|voulais|vouliez) dire\b|\bca veut dire\b"
            r"|\bc'est[- ]a[- ]dire\b|\b(?:en|dans) quel sens\b|\bde quoi (?:vous|tu|on) parle\w*"
            r"|\b(?:vous|tu|on) parle\w* (?:de quoi|du|de|la)\b.{0,60}\bou\b|\bqu'entend\w*"
            r"|\bdefini(?:ssez|r|s)\b"
        ),
        "how_so": (
            r"\b(?:comment ca|genre quoi|pourquoi ca|hein|de quoi\b(?= ?[?!.]| au juste|$)|quoi(?= ?[?!]+"
            r"|$)|comment(?= ?\?)|par rapport a quoi|dans quoi|a quoi|pour quoi|contre quoi"
            r"|libres? de quoi)\b"
        ),
        "explain": (
            r"\b(?:expliqu\w+|reexpliqu\w*|reformul\w+|redire|redites|redis|repet\w+|simplifi\w+"
            r"|precis(?:er|ez|e)\b|clarifi\w+|eclair\w+|developp(?:er|ez|e)\b|detaill\w+"
            r"|aide[zr]?[- ](?:moi|nous)|m'aider|help|sos|traduc\w+|traduire|sous[- ]titre\w*|(?:plus|mots"
            r"|termes) (?:simples?|normaux|simplement|lentement|clairs?|clairement)|un exemple"
            r"|des exemples|un indice|par exemple \?)\b"
        ),
        "link_missing": (
            r"\b(?:quel|le|aucun|pas le|c'est quoi le) (?:rapport|lien)\b|\bje (?:ne )?vois (?:pas|plus"
            r"|mal)\b(?! (?:le probleme|pourquoi (?:il|ce|on|je)|l'interet|en quoi))"
        ),
        "or_question": r"\b(?:ou|soit)\b (?!est\b)[^.!?]{0,200}\?",
        "same_thing": (
            r"\b(?:la )?meme chose\b|\bpareil\b.{0,12}\?|\bdifference\b|\bl'inverse\b.{0,30}\?"
            r"|\ble contraire\b.{0,40}\?"
        ),
        "wait": r"\b(?:attend[sz]?|attendez|minute|stop stop|euh+|heu+|hum+|hmm+|mmh+)\b",
        "many_marks": r"\?{2,}|\?!|!\?|😵|🤔|😕|😭|🥴|🤯|😖|🙃|😰|❓|⁉",
        "only_marks": (
            r"^\W*\?+\W*$|^(?:euh+\W*|heu+\W*|mdr |lol )*(?:hein|quoi|comment|pardon|gne|wtf|what|de"
            r"|euh+)\W*$"
        ),
        "begins_as_what": r"^(?:donc |mais |euh )*(?:comme|genre|au sens) [^.!?]{1,80}\?",
        "where_asked": r"\b(?:ou|comment|vers quoi|a qui|par qui|avec quoi)(?= ?\?*$)",
        "as_what": r"\b(?:comme|genre|au sens|sens)\b[^.!?]{0,200}\?",
        # Resists.
        "not_agreed": (
            r"\b(?:pas|plus|jamais|absolument pas|moyennement|peu|aucunement) (?:\w+ )?(?:\w+ )?d'accord\b"
            r"|\bpas de (?:cet|ton|votre) avis\b|\bd'accord .{0,12}\b(?:du tout|non)\b|\bdesaccord\b"
            r"|\bpas mon avis\b"
        ),
        "false": (
            r"(?<!pas )(?<!pas si )(?<!ni )(?<!pas totalement )\b(?:faux|fausses?|n'importe quoi|n'imp"
            r"|nimp|nimporte quoi|ridicules?|absurdes?|debiles?|stupides?|betes?\b(?! de)|idiote?s?|nazes?"
            r"|bidon|nulle?s?\b|foutaises?|conneries?|betises?|bullshit|mensonges?|delire|ineptie|arnaque"
            r"|archi[- ]faux|a cote de la plaque|hors[- ]sol|illogique|incoherente?|aberrante?)\b"
        ),
        "not_false": (
            r"\b(?:pas|ni|rien de) (?:si |totalement |completement |entierement |forcement |tout a fait "
            r"|vraiment |du tout |trop )?(?:faux|betes?|idiot|con\b|stupide|debile|absurde"
            r"|n'importe quoi)\b|\bloin d'etre\b.{0,20}(?:n'importe quoi|faux|bete|idiot|absurde)"
            r"|\bpas tort\b|\b(?:peux|peut|saurais|pourrais) (?:pas|difficilement"
            r"|guere) (?:\w+ )?(?:dire le contraire|nier|le nier|contredire|vous contredire|dire non)"
            r"|\bdifficile (?:de|a) (?:\w+ )?(?:contredire|dire le contraire|nier)|\brien a (?:redire|dire"
            r"|objecter|ajouter)|\b(?:difficile|dur|impossible|comment) (?:de |d'"
            r"|a )?ne pas (?:\w+ ){0,2}d'accord|\bne peux? (?:\w+ )?qu'etre d'accord"
            r"|\bpeux qu'(?:etre d'accord|approuver)|\b(?:pas|sans) (?:aucun )?doute\b"
        ),
        "exaggerated": (
            r"\b(?:abuse[rzs]?\b|exager\w+|caricatur\w+|utop\w+|naif|naive\w*|simplistes?|facile a dire"
            r"|facile de (?:dire|critiquer|parler)|c'est facile|trop facile|trop beau|inhumaine?s?"
            r"|injustes?|degueulasse|horribles?|triste\w*|egoistes?|hypocrit\w+|dangereu\w+|choqu\w+"
            r"|culpabilis\w+|moralis\w+|lecons? de morale|extreme\w*|radical\w*|dogmati\w+|vieux jeu"
            r"|depasse[es]?\b|perimee?s?|ringarde?s?|trop (?:pessimiste|optimiste|subjectif|rigide|severe"
            r"|strict|theorique|simple|general|parfait)|irrealiste|reac\w*|bisounours|belles? paroles?)\b"
        ),
        "contradiction": (
            r"\b(?:contredi[st]\w*|contradict\w+|contradiction|incoheren\w+|paradox\w+|se mord la queue"
            r"|tourne en rond votre|ca (?:ne )?(?:tient|colle|marche|fonctionne|passe|va|prouve|suffit"
            r"|change) (?:pas|plus|rien)|(?:ne )?(?:tient|colle|marche|fonctionne|prouve|change"
            r"|demontre) (?:pas|plus|rien)(?: debout| la route)?|tient pas debout|ca coince"
            r"|contre[- ]exemples?|objections?|exception|erreur|vous (?:vous )?tromp\w+|tu te trompes"
            r"|(?:avez|as|a) (?:surtout |completement )?tort|oubli\w+ (?:ca|que|les|le|la|une?)|(?:vous"
            r"|tu) oubli\w+|qu'est[- ]ce qui (?:vous )?(?:prouve|dit|garantit)|qui (?:vous )?(?:dit|a dit"
            r"|a decide|prouve) (?:que|qu')|de quel droit|comment (?:vous pouvez|pouvez[- ]vous|tu peux"
            r"|peut[- ]on) (?:dire|croire|affirmer)|vous y croyez|pourquoi (?:ce serait|ca serait"
            r"|il faudrait|je devrais|on devrait)|preuves?(?= ?\?)|prouve[zr]?\b"
            r"|donnez[- ]moi une? (?:seule?|preuve)|c'est faible|pas (?:tres |vraiment "
            r"|du tout )?(?:convainc\w+|convaincue?|serieux|realiste|logique|credible|vrai\b|juste"
            r"|possible|normal))\b"
        ),
        "doubt": (
            r"\b(?:bof|mouais|moue|mwais|mouai\w*|mouaif|meh|mef|gros doute|j'ai un doute|des doutes"
            r"|(?<!fait )(?<!plus de )(?<!aucun )(?<!pas de )(?<!sans )(?<!nul )doute\w*|sceptique|perplexe"
            r"|pas sure?|pas certaine?|pas convaincue?|mitigee?|tss+|pff+|lol non|mais bien sur|ben voyons"
            r"|c'est ca oui|a d'autres|admettons|si vous le dites|si tu le dis)\b"
        ),
        "i_dont_think": (
            r"\bje (?:ne )?(?:crois|pense|trouve|dirais|suis|vois) (?:\w+ )?(?:pas|plus|vraiment pas"
            r"|franchement pas)\b (?:que|qu'|ca|du tout|forcement|pourquoi (?:il|ce|on|je)|l'interet"
            r"|le probleme|en quoi|convainc)|\by (?:crois|crois vraiment) pas\b|\bje (?:refuse|conteste"
            r"|rejette|desapprouve|proteste|m'oppose|maintiens|persiste)\b|\bj'accepte pas"
            r"|\bje (?:n')?(?:adhere|marche|valide|cautionne) pas|\bc'est pas ce que je (?:crois|pense"
            r"|dis)|\bou est le probleme|\bet alors\b|\bpourquoi (?:il|on) (?:faudrait|devrait)"
            r"|\bpourquoi faudrait"
        ),
        "but_begins": (
            r"^(?:oui|ok|d'accord|certes|peut[- ]etre|je (?:vois|comprends|sais|suis d'accord|veux bien)"
            r"|j'entends(?: bien)?|bien sur|admettons|ok ok|c'est vrai|vrai|pas faux|c'est pas faux"
            r"|j'avoue|bon|soit|enfin|en theorie|dans l'idee|sur le papier|je dis pas|joli|jolie phrase"
            r"|belle idee|c'est (?:beau|joli|bien|mignon|facile))\b[^.!?]{0,50}?\b(?:mais|sauf que|sauf"
            r"|enfin|seulement|par contre|cependant|pourtant|sinon|ca depend)\b"
        ),
        "but": (
            r"\b(?:mais(?! (?:oui|si|carrement|grave|tellement|trop|clairement|totalement"
            r"|c'est (?:exactement|vrai)))|sauf|pourtant|cependant|toutefois|neanmoins|en revanche"
            r"|par contre|au contraire|n'empeche|quand meme|malgre|or )\b"
        ),
        "no_begins": (
            r"^(?:ah |bah |ben |beh |eh |euh |mais |alors |franchement |perso |moi |oula |oui )*(?:non\b"
            r"|pas du tout|absolument pas|certainement pas|surtout pas|jamais(?! totalement)"
            r"|aucune?\b(?! idee)|impossible|si\b,? (?:si|moi|justement|je|on)|pas d'accord|n'importe quoi"
            r"|c'est faux|ni l'une? ni l'autre|arrete\w*)"
        ),
        "i_do": (
            r"\bmoi,? (?:si|non|je (?:pense|crois|trouve|dis|prefere|decide|choisis|fais|suis libre))\b"
            r"|\bsi,? moi\b|\b(?:c'est moi qui|je (?:decide|choisis|fais ce que|controle|me connais"
            r"|suis libre|gere)|personne (?:ne )?m'(?:a|oblige|y)|j'y peux rien|par definition"
            r"|evidemment (?:que|qu')|bien sur (?:que|qu'))"
        ),
        "counter": (
            r"^(?:et|mais)? ?(?:les|ceux|celui|celle|quelqu'un|un|une|des|le|la|mon|ma|mes|nos|l'|quand"
            r"|pendant|avant|sans) ?.{3,120}\b(?:aussi|alors|pourtant|quand meme|eux|jamais|rien|pas|plus"
            r"|bien|tres bien|tout seul|meme)\b"
        ),
        "and_those": (
            r"^(?:oui |ok |d'accord )?(?:et|mais|ok et|mais et) (?:si|les|ceux|celui|celle|celles|quand|un"
            r"|une|le|la|l'|dans|pour|moi|qui|alors)\b.{0,120}"
        ),
        "so_question": r"^(?:donc|alors|du coup|et donc) .{8,}\?",
        "stop_it": (
            r"\b(?:arrete[zr]?\b|essaye[zr]? (?:de|d')|allez (?:dire|expliquer|voir)|va dire|dites ca"
            r"|dis ca|vous rigolez|tu rigoles|serieux|serieusement|franchement|sans dec\w*|n'exager\w+"
            r"|la bonne blague|laissez[- ]moi rire|merci mais|on s'en (?:fiche|fout|tape|moque)"
            r"|je m'en (?:fiche|fous|tape)|(?:sert|servent) a rien|aucun (?:sens|interet)|litteralement"
            r"|carrement pas)\b"
        ),
        "irony": (
            r"\bah (?:oui|bon) ?\?|\b(?:quelle decouverte|captain obvious|comme c'est pratique|pratique,? (?:ca|comme)"
            r"|trop fort le|c'est (?:sur|facile) que quand|ben tiens|la belle affaire|merci bien)\b"
            r"|^(?:bravo|magnifique|genial|super|wow|waouh|wahou|bien sur\W+et)\b|\b(?:ah bah|tiens donc"
            r"|elle est belle|il est beau|c'est malin|quelle (?:belle|bonne)|merci pour (?:eux|l'info)"
            r"|comme par hasard)\b|👏|🙄|😒|😑|😤|🙃|🤨|😏|👎"
        ),
        "your_claim": rf"\b{_CLAIM}\b",
        "opinion": (
            r"\b(?:perso|pour moi|a mon avis|selon moi|je (?:pense|crois|trouve|dis|prefere)\b(?! (?:aussi"
            r"|que oui|pareil))|on peut (?:tres bien|toujours)|c'est juste (?:un|une|des|que|de|pour"
            r"|parce)|juste (?:un|une|des) |de toute facon|en vrai|(?:il |y )?suffit|(?:on|faut|il faut"
            r"|ils) (?:doit|devrait|doivent|devraient)|besoin de|tout seul|plein de|grace (?:a|aux)"
            r"|heureusement|tres bien|chacun|personne|aucune?|tout le monde|tous\b|toujours|forcement"
            r"|impossible|sinon|sans (?:ca|quoi))\b"
        ),
        "known_cases": (
            r"\b(?:je connais (?:des|plein|quelqu'un|un|une)|y (?:en )?a (?:des|plein de?"
            r"|plein d') ?(?:gens|personnes|mecs|filles|profs|trucs|cas|qui)|certains|regarde[zr]?|prenez"
            r"|voyez|prends|imagine[zr]?|essaye[zr]?|essaie)\b|\b([a-z]{3,}) c'est (?:une? |la |le )?\1\b"
        ),
        "your_opinion": (
            r"\b(?:c'est|ca c'est|ce n'est que) (?:juste |que )?(?:votre|ton|vous|toi)\b|\bje (?:vous"
            r"|te) trouve\b|\b(?:vous|tu) (?:dites|dis) ca\b|\bme parai(?:t|ssent) (?:\w+ )?(?:court"
            r"|faible|faux|simple|naif|bizarre|etrange|exager)\w*|\bjamais de la vie\b"
            r"|\bplutot l'inverse\b|\btout le contraire\b"
        ),
        "strong_yes": (
            r"^(?:bah |ben |mais )?(?:evidemment|bien sur|obvious|bah oui|ben oui|forcement|carrement que"
            r"|oui evidemment|oui bien sur)\b"
        ),
        "how_possible": (
            r"^(?:mais |et |alors |du coup |donc )*(?:comment (?:on|je|tu|vous|c'est|ca|peut|est)"
            r"|si .{5,60}(?:comment|alors pourquoi|c'est quoi|qu'est)|pourquoi .{0,40}(?:alors"
            r"|et pas))\b.*"
        ),
        "it_is_not": (
            r"\b(?:c'est|ce n'est|est|sont|suis|n'est|y a|il y a|a|ont|fait|font|peut|peuvent|faut|doit"
            r"|sert|veut|rit|existe\w*|empeche|oblige|suffit|depend|choisi\w*|s'arrete|arrete|va|marche"
            r"|pense|dit|ai) (?:\w+ )?(?:pas|rien|jamais|aucune?|plus|personne)\b"
        ),
        "no_inside": r"\bdonc non\b|[a-z],? non[.!]*$|\bm'etonne(?:rait)?\b",
        # Agrees.
        "yes_begins": (
            r"^(?:ah |bah |ben |beh |mais |eh |euh |hmm+ |mmh+,? |non,? |ok |alors |franchement "
            r"|oh )*(?:oui|exact\w*|tout a fait|absolument|carrement|clairement|grave|totalement"
            r"|completement|effectivement|en effet|tellement|evidemment|bien sur|c'est (?:vrai|clair|sur"
            r"|certain|exact|evident|juste|ca)|d'accord|ok|vrai|trop vrai|je suis d'accord|logique|j'avoue"
            r"|certes|voila|nickel|parfait|amen|pareil|idem|same|yeah|obvious|sans doute|surement|jcrois"
            r"|je crois bien)\b"
        ),
        "agreed": (
            r"\b(?:suis|sommes|serais|etre|plutot|totalement|completement|entierement|assez|trop|bien"
            r"|tout a fait|entierement|carrement|grave|bon|ok) (?:\w+ )?d'accord\b|^d'accord\b"
            r"|\bd'accord (?:avec (?:vous|toi|ca|cette)|sur|la[- ]dessus)|\bje (?:vous |te "
            r"|m'y )?(?:rejoins|suis d'avis|plussoie|approuve|valide|confirme|concede|cede|admets"
            r"|reconnais|m'incline|signe|partage|adhere|kiffe|retiens|note)\b|\bj'(?:avoue|admets|approuve"
            r"|adhere|adore|aime (?:bien|trop)|acquiesce)\b|\b(?:dois|faut) (?:bien )?(?:reconnaitre"
            r"|avouer|admettre|dire que (?:oui|c'est vrai))|\+ ?1\b|\b100 ?%|\b(?:meme avis|moi aussi"
            r"|moi pareil|pareil pour moi|comme (?:vous|tu) (?:dites|dis|disiez|disais|l'avez|le dites)"
            r"|(?:vous|tu) (?:l'avez|l'as|le dites|l'aviez) (?:bien )?(?:montre|dit|explique|prouve))\b"
        ),
        "right": (
            r"\b(?:(?:vous|tu|t') ?(?:avez|as|a) (?:\w+ )?raison|raison (?:sur|la[- ]dessus)|bien (?:vu"
            r"|dit|joue|trouve|resume|envoye)|vu juste|(?<!pas )(?<!guere )(?<!pas encore )(?<!pas (?:bien|tres|trop) )"
            r"(?<!pas vraiment )(?<!pas totalement )(?<!pas completement )(?<!pas du tout )convaincue?s?\b"
            r"|change d'avis"
            r"|(?:j')?allais le dire|vous m'avez eue?|c'est ce que je (?:pense|me disais|dis)"
            r"|je pense (?:pareil|comme vous|aussi|la meme)|donne a reflechir|ouvert les yeux|trop (?:bien"
            r"|fort|stylé|cool)|pas mal\b|style\b|valide\b|respect\b|gg\b|banger|masterclass"
            r"|bien sur que (?:oui|si)|c'est (?:tellement |trop |tres |bien |exactement |totalement "
            r"|grave |vachement |pas mal |assez |plutot |super |franchement )?(?:vrai|juste|clair|logique"
            r"|ca|pertinent|bien vu|beau|fort|profond|interessant|parlant|convaincant|malin|exact|certain"
            r"|evident|sur)|trop vrai|tellement vrai|ca (?:se tient|tient la route|me parle|fait (?:sens"
            r"|du bien|reflechir)|rejoint|colle|marche(?! pas)|confirme|a du sens|me va|me rassure|m'aide"
            r"|me plait|paie|resume)|marque[zs]? un point|un point pour|touche\b|bon point|belle (?:idee"
            r"|image|phrase)|bonne (?:idee|image|reponse)|bel exemple|le (?:bon|meilleur|parfait) exemple"
            r"|l'exemple .{0,20}(?:marche|parfait|parle)|effectivement|en effet|exactement|absolument"
            r"|tout a fait|carrement|clairement|totalement|tellement|grave\b|logique|pile)\b|👍|💯|🙌|🙏|😍|🔥|✅"
            r"|👌|🤝|😮|❤"
        ),
        "understood": (
            r"\b(?:(?:ah |ok |okay |d'accord |oh )(?:oui |ok )?(?:je (?:vois|comprends?|capte|pige|saisis)"
            r"|j'ai (?:compris|capte|pige|saisi))|j'ai (?:enfin |mieux |bien )?(?:compris|capte|pige"
            r"|saisi)|je (?:comprends|vois|saisis|capte) (?:mieux|maintenant|enfin|bien|ce que vous"
            r"|ce que tu|l'idee|le truc|l'image)|maintenant que (?:vous|tu)|j'y avais (?:jamais|pas) pense"
            r"|jamais pense|je (?:m'en|me) (?:rends|rendais) compte|vu comme ca|dit comme ca|ca y est|tilt"
            r"|eureka|ah oui(?! ?\?)|(?:jamais|pas) (?:vu|pense|imagine)\w* (?:\w+ ){0,3}(?:comme ca|sous cet angle))\b"
        ),
        "yes_inside": (
            r"\b(?:donc|bref|alors|et|la|fond|globalement|partie|gros|du coup|que|dirais|pense|crois"
            r"|trouve|peut[- ]etre|vie|vrai) (?:que )?oui\b|[,.;] ?oui\b|\boui[.!]*$|\bmais (?:oui"
            r"|tellement|carrement|grave|totalement|trop|c'est exactement)\b|\boui (?:et non|oui|mais oui"
            r"|c'est)\b|\bdonc (?:on est|je suis) d'accord"
        ),
        "example_mine": (
            r"\b(?:moi (?:aussi|c'est pareil|en|quand|depuis|qui)|par exemple|comme quand|depuis que"
            r"|la preuve|d'ailleurs|c'est ce que (?:j'ai|je)|je (?:ressens|l'ai (?:vu|vecu|senti)|regarde"
            r"|trouve que oui)|ca m'(?:est|arrive)|chez moi c'est pareil|exemple parfait|meme (?:pour"
            r"|quand|au|en|les|avec))\b"
        ),
        # Neither.
        "depends": (
            r"\b(?:ca depend|tout depend|depend (?:de|des|du)|un peu des deux|les deux|entre les deux"
            r"|ni oui ni non|peut[- ]etre|parfois|des fois|pas (?:toujours|forcement)|j'hesite"
            r"|je me demande|plus ou moins|moitie[- ]moitie|a voir|pas d'avis|sans avis|j'ai pas d'avis)\b"
        ),
        "information": (
            r"^(?>(?:ok,? et |et |au fait,? |sinon,? |d'ailleurs,? |ok (?!et )|oui )*)(?:est[- ]ce que (?:vous|tu"
            r"|c'est|il|on|kant|spinoza|bergson|le|la|les|ca)|(?:vous|tu) (?:avez|as|connaissez|connais"
            r"|en dites|pensez|penses|etes|es)|c'est (?:dans|de|au|une?|quel|ecrit|qui)|c'etait"
            r"|ca (?:existe|date|vient|s'appelle|se trouve)|il (?:y a|est|a)|quel|quelle|quels|quelles"
            r"|qui (?:a|est|etait)|quand|ou |combien|pourquoi(?! (?:il faudrait|faudrait))|comment (?:on"
            r"|vous|s'appelle|faire)|qu'est[- ]ce que (?:vous|kant|spinoza|bergson|l[ae])|que (?:pens|dit"
            r"|disent)|qu'en|pour|les|le|la|l'|dans|ca)\b.*\?"
        ),
        "learned": (
            r"\b(?:definiti\w+|defini(?:t|e|s|ssaient|ssait)?\b|se definit|s'appelle|on (?:appelle|nomme"
            r"|distingue|compte|a (?:vu|etudie|lu|fait|parle)|avait (?:vu|etudie|lu)|parle de)"
            r"|c'est (?:ce qu'on|quand|le fait|l'(?:idee|ensemble|art|etude)|une? (?:notion|concept|mot"
            r"|terme|partie))|il me semble|au programme|en (?:cours|classe|seconde|premiere|terminale|svt"
            r"|hlp|ses|histoire)|le prof (?:a|nous)|notre prof|wikipedia|etymolog\w+|du (?:grec|latin)"
            r"|mot (?:vient|grec|latin)|vient du|article \d+|siecle|citation|selon|d'apres|chez|auteurs?"
            r"|philosophes?|livre|ouvrage|manuel|texte|chapitre|publie|ecrit|disait|dit que|pensait"
            r"|pense que|parlait|soutient|affirme)\b"
        ),
        "numbers": (
            r"\b(?:1[0-9]|20)\d\d\b|\b\d+ ?(?:%|ans|heures?|siecles?|milliards?|millions?|mille)"
            r"|\b(?:milliards?|millions?)\b"
        ),
        "my_life": (
            r"^(?:a |en |depuis |hier |moi |quand |y a |il y a |avec )?(?:.{0,25})\b(?:j'ai (?:une?|des"
            r"|quatre|deux|trois|rate|ete|fait|eu|lu|vu|note|commence|appris|passe|reussi|note|recopie)"
            r"|je (?:vivais|faisais|suis en|prends|joue|lis|vis|viens|vais|passe|regarde)|j'(?:etais"
            r"|habite|ecoute|avais|aime|apprends)|mon (?:frere|petit frere|pere|chat|chien|ami|oncle|prof"
            r"|cousin|grand[- ]pere|voisin)|ma (?:soeur|mere|grand[- ]mere|prof|cousine|copine"
            r"|meilleure amie)|ca m'est arrive|mes (?:parents|amis|potes))\b"
        ),
        "and_for": r"^(?:et|ok et|et du coup|et sinon|et alors) (?:pour|les|le|la|l'|dans|chez|en|au|du)\b.{2,60}\?$",
        "answer_noun": (
            r"^(?:la|le|les|l'|une?|des|celle|celui|ceux|parce que|surtout|plutot|peut[- ]etre|souvent|a "
            r"|en |avec |quand )"
        ),
    }.items()
}
