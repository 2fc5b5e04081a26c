"""Draws what is left and how: goods, debts, gifts, a will, insurance, undivided ownership. Knows a family."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from corpus.domains.succession.case import SEPARATE, age_on, months_after
from corpus.domains.succession.family import Family, Part

BUILDINGS = ("residence_principale", "residence_secondaire", "immeuble_locatif", "terrain", "bien_agricole")
VALUES = {
    "residence_principale": (90_000, 900_000), "residence_secondaire": (60_000, 600_000),
    "immeuble_locatif": (80_000, 1_500_000), "terrain": (5_000, 250_000), "bien_agricole": (20_000, 400_000),
    "compte_bancaire": (300, 120_000), "livret": (500, 35_000), "portefeuille_titres": (2_000, 800_000),
    "parts_sociales": (5_000, 2_000_000), "fonds_de_commerce": (20_000, 450_000), "vehicule": (800, 45_000),
    "mobilier": (500, 30_000), "oeuvre_art": (1_000, 300_000),
}  # euros  # fmt: skip
DEBTS = {
    "emprunt_immobilier": (10_000, 250_000), "credit_consommation": (800, 25_000), "impot": (200, 30_000),
    "frais_funeraires": (1_500, 9_000), "frais_derniere_maladie": (200, 15_000), "dette_familiale": (1_000, 60_000),
    "cautionnement": (5_000, 150_000), "recompense_due_a_la_communaute": (3_000, 120_000),
    "creance_de_restitution_quasi_usufruit": (10_000, 200_000), "aide_sociale_recuperable": (2_000, 90_000),
}  # euros  # fmt: skip
LENDERS = frozenset({"emprunt_immobilier", "credit_consommation", "cautionnement"})
FAMILY_FRIENDS = ("ami", "filleul", "voisin", "beau_fils", "belle_fille", "aidant_professionnel", "medecin_traitant")
BODIES = {"association": "associations", "fondation": "fondations", "collectivite": "collectivites"}
GENDERS = {"beau_fils": "m", "belle_fille": "f", "filleul": "m"}
SPLIT = ("pleine_propriete", "usufruit", "nue_propriete")
BLOCKED = ("refus_de_vendre", "refus_de_partager", "indivisaire_taisant", "mesentente_gestion")
USUFRUCT_BOUNDS = (50, 51, 60, 61, 70, 71, 80, 81, 90, 91)  # years, between which the usufruct is worth less (CGI 669)
ADULT = 18
LATE = 70  # years of age, from which premiums are taxed otherwise (CGI 757 B)
LATE_LAW = date(1991, 11, 20)  # contracts from this day
INTERNATIONAL_LAW = date(1994, 12, 1)  # international wills from this day in France
MOST_THIRDS = 4


@dataclass
class Estate:
    """What is left, as it grows.

    Attributes:
        family: Who survives.
        goods: The block `biens`.
        thirds: The block `tiers`: whoever a gift, a legacy or a policy names outside the family.
        parts: The other blocks, by name.
    """

    family: Family
    goods: list[Part] = field(default_factory=list)
    thirds: list[Part] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)

    def third(self, qualities: Sequence[str] = ()) -> str:
        """Return the id of somebody outside the family, a new one while there is room."""
        luck = self.family.luck
        if self.thirds and (len(self.thirds) >= MOST_THIRDS or luck.hit(0.25)):
            return str(luck.pick(self.thirds)["id"])
        open_ = ["concubin"] if not self.family.spouse else []
        quality = luck.pick(qualities or (*FAMILY_FRIENDS, *BODIES, *open_))
        one: Part = {"id": f"T{len(self.thirds) + 1}", "qualite": quality}
        if luck.hit(0.4 + luck.density / 2):
            person = f"{luck.first_name(GENDERS.get(quality, ''))} {luck.name('noms')}"
            one["nom"] = luck.name(BODIES[quality]) if quality in BODIES else person
        self.thirds.append(one)
        return str(one["id"])

    def add_good(self, kind: str = "", **fixed: Any) -> Part:
        """Add a good; `fixed` says what must be true of it."""
        luck = self.family.luck
        have = {one["type"] for one in self.goods}
        kind = kind or luck.pick([one for one in VALUES if one != "residence_principale" or one not in have])
        one: Part = {"id": f"B{len(self.goods) + 1}", "type": kind}
        if luck.said() or "qualification" in fixed:
            one["qualification"] = fixed.get("qualification") or luck.pick(_ownerships(self.family))
        if luck.told():
            one["valeur"] = luck.money(*VALUES[kind])
        if one.get("qualification") == "indivis":
            one["quote_part_defunt"] = luck.pick(("1/2", "1/3", "1/4", "2/3", "3/4", "1/6"))
        if "demembrement" in fixed or luck.hit(luck.density / 5):
            one["demembrement"] = fixed.get("demembrement") or luck.pick(SPLIT)
        if one.get("demembrement") == "nue_propriete":
            one["age_usufruitier"] = luck.pick((luck.between(45, 95), luck.pick(USUFRUCT_BOUNDS)))
        if "origine" in fixed or luck.said():
            own = one.get("qualification") == "commun"  # given and inherited goods are no common ones (1405)
            known = ("achat", "apport") if own else ("achat", "succession", "donation", "legs", "apport")
            one["origine"] = fixed.get("origine") or luck.pick(known)
        if kind in BUILDINGS and self.family.alive and luck.hit(luck.density / 3):
            one["occupant"] = luck.pick([*self.family.alive, *(third["id"] for third in self.thirds)])
        self.goods.append(one)
        return one


def _ownerships(family: Family) -> tuple[str, ...]:
    regime = family.deceased.get("regime_matrimonial")
    if regime == "communaute_universelle":
        return ("commun", "commun", "indivis")
    if family.survivor and "separe_de_corps" not in family.deceased.values() and regime not in SEPARATE:
        return ("propre_du_defunt", "commun", "commun", "indivis")
    return ("personnel", "personnel", "indivis")


def add_goods(estate: Estate, count: int) -> None:
    """Add goods, those first that topics and the law of siblings need."""
    topics, luck = estate.family.topics, estate.family.luck
    if "logement_conjoint" in topics:
        estate.add_good("residence_principale")["occupant"] = "CJ"
    if "demembrement" in topics:
        kind = luck.pick((*BUILDINGS, "portefeuille_titres"))
        estate.add_good(kind, demembrement=luck.pick(("usufruit", "nue_propriete")))
    if estate.family.returned:
        own = "propre_du_defunt" if "commun" in _ownerships(estate.family) else "personnel"
        estate.add_good(luck.pick(BUILDINGS), qualification=own, origine=luck.pick(("succession", "donation")))
    while len(estate.goods) < min(8, count):
        estate.add_good()


def add_debts(estate: Estate, count: int) -> None:
    """Add debts."""
    family, luck = estate.family, estate.family.luck
    known = [one for one in DEBTS if one != "recompense_due_a_la_communaute" or "commun" in _ownerships(family)]
    debts = []
    for kind in luck.chance.sample(known, count):
        one: Part = {"type": kind, "montant": luck.money(*DEBTS[kind])}
        if kind in LENDERS and luck.said():
            one["creancier"] = luck.name("creanciers")
        if kind in ("emprunt_immobilier", "credit_consommation") and luck.said():
            one["assurance_emprunteur"] = luck.hit(0.5)
        debts.append(one)
    estate.parts["passif"] = debts


def _since_adult(family: Family) -> date:
    return months_after(family.birth, 12 * ADULT)


def add_gifts(estate: Estate, count: int) -> None:
    """Add gifts; the first one is brought back where the topic is that."""
    family, luck = estate.family, estate.family.luck
    gifts: list[Part] = []
    for _ in range(count):
        brought = "donation_rapport" in family.topics and not gifts
        heirs = family.takers
        to = luck.pick(heirs) if heirs and (brought or luck.hit(0.75)) else ""
        forms = ["notariee", "don_manuel", "donation_indirecte", "donation_deguisee"]
        if not brought:
            forms += ["presents_d_usage"] + (["donation_partage"] if family.shape == "descendants" and to else [])
        if not to:
            to = "CJ" if family.survivor and luck.hit(0.4) else estate.third()
        one: Part = {"id": f"D{len(gifts) + 1}", "donataire": to, "forme": luck.pick(forms)}
        _detail_gift(estate, one, brought)
        gifts.append(one)
    estate.parts["donations"] = gifts


def _detail_gift(estate: Estate, one: Part, brought: bool) -> None:
    family, luck = estate.family, estate.family.luck
    usual = one["forme"] == "presents_d_usage"
    if luck.told():
        one["date"] = luck.day(_since_adult(family), family.death - timedelta(days=30)).isoformat()
    if luck.said() and not usual:
        one["bien"] = luck.name("donnes")
    if luck.told():
        one["valeur_jour_donation"] = luck.money(50, 2_000) if usual else luck.money(2_000, 400_000)
    if not usual and luck.hit(luck.numbers / 2):
        one["valeur_jour_deces"] = luck.money(2_000, 600_000)
    if not usual and one["donataire"].startswith("H"):
        if brought:
            one["imputation"] = "avancement_de_part"
        elif luck.hit(0.3 + luck.density / 2) and "donation_rapport" not in family.topics:
            one["imputation"] = luck.pick(("avancement_de_part", "hors_part"))
    if one["forme"] in ("notariee", "donation_partage"):
        for key in ("reserve_usufruit", "droit_de_retour"):
            if luck.hit(luck.density / 2):
                one[key] = luck.hit(0.7)
    if luck.hit(luck.density / 2):  # a shared gift is frozen (1078), a usual one counts for nothing (852)
        one["rapportable"] = one.get("imputation") == "avancement_de_part" and one["forme"] != "donation_partage"


def add_will(estate: Estate, *, legacies: int, form: str = "") -> None:
    """Add a will, with legacies or without."""
    family, luck = estate.family, estate.family.luck
    will: Part = {"forme": form or luck.pick(("olographe", "olographe", "authentique", "mystique", "international"))}
    first = _since_adult(family)
    if will["forme"] == "international":
        first = max(first, INTERNATIONAL_LAW)
    if luck.told() and first < family.death:
        will["date"] = luck.day(first, family.death - timedelta(days=1)).isoformat()
    if will["forme"] == "olographe":
        for key in ("ecrit_a_la_main", "date_presente"):
            if luck.hit(luck.density / 2):
                will[key] = luck.hit(0.7)
    for key, share in (("signe", 0.85), ("executeur_testamentaire", 0.7), ("revoque", 0.4)):
        if luck.hit(luck.density / 3) and not (key == "signe" and will["forme"] == "authentique"):
            will[key] = luck.hit(share)
    if legacies:
        will["legs"] = _legacies(estate, legacies, revoked=bool(will.get("revoque")))
        family.willed = True
    estate.parts["testament"] = will


def _legacies(estate: Estate, count: int, *, revoked: bool) -> list[Part]:
    family, luck = estate.family, estate.family.luck
    found: list[Part] = []
    left = Fraction(1)
    free = [one["id"] for one in estate.goods if one.get("qualification") != "commun"]
    for _ in range(count):
        near = [*family.takers, *(["CJ"] if family.spouse else [])]
        to = luck.pick(near) if near and luck.hit(0.35) else estate.third()
        kinds = ["particulier", "particulier"] + (["a_titre_universel"] if left > Fraction(1, 4) else [])
        kinds += [] if any(one["type"] != "particulier" for one in found) else ["universel"]
        if any(one["type"] == "universel" for one in found):
            kinds = ["particulier"]
        one: Part = {"id": f"G{len(found) + 1}", "type": luck.pick(kinds), "beneficiaire": to}
        if one["type"] == "a_titre_universel":
            share = luck.pick([part for part in (Fraction(1, 2), Fraction(1, 3), Fraction(1, 4)) if part < left])
            one["quotite"], left = f"{share.numerator}/{share.denominator}", left - share
        elif one["type"] == "particulier":
            if free and luck.hit(0.5):
                one["bien"] = free.pop(luck.between(0, len(free) - 1))
            elif luck.hit(0.6) or not luck.told():
                one["objet"] = luck.name("objets")
            else:
                one["valeur"] = luck.money(1_000, 150_000)
        if not revoked and luck.hit(luck.density / 2):
            one["delivrance"] = luck.pick(("non_demandee", "demandee", "accordee", "refusee"))
        found.append(one)
    return found


def add_policies(estate: Estate, count: int) -> None:
    """Add life insurance, outside the succession."""
    family, luck = estate.family, estate.family.luck
    found = []
    for number in range(1, count + 1):
        one: Part = {"id": f"AV{number}"}
        if luck.said():
            one["assureur"] = luck.name("assureurs")
        begun = luck.day(max(_since_adult(family), LATE_LAW), family.death - timedelta(days=60))
        if luck.told():
            one["date_souscription"] = begun.isoformat()
        if luck.told():
            one["capital_deces"] = luck.money(3_000, 900_000)
        most = max(100, int(one.get("capital_deces", 400_000) * 0.9))
        if age_on(family.birth, begun) < LATE and luck.told():
            one["primes_avant_70_ans"] = luck.money(min(500, most // 2), most // 2)
        if age_on(family.birth, family.death) >= LATE and luck.told():
            one["primes_apres_70_ans"] = luck.money(min(500, most // 2), most // 2)
        if luck.hit(0.3 + luck.density):
            one["clause"] = luck.pick(("standard", "nominative", "demembree", "absence_de_beneficiaire"))
        _name_beneficiaries(estate, one)
        if luck.hit(luck.density / 4):
            one["primes_manifestement_exagerees"] = luck.hit(0.6)
        found.append(one)
    estate.parts["assurances_vie"] = found


def _name_beneficiaries(estate: Estate, one: Part) -> None:
    family, luck = estate.family, estate.family.luck
    clause = one.get("clause")
    if clause == "absence_de_beneficiaire":
        return
    if clause in ("nominative", "demembree") or luck.said() or len(one) == 1:
        who = luck.chance.sample(family.alive, min(len(family.alive), luck.between(1, 3)))
        if not who or (clause != "standard" and luck.hit(0.35)):
            who = [*who[:2], estate.third()]
        one["beneficiaires"] = list(dict.fromkeys(who))
        if luck.hit(luck.density / 4):
            one["acceptation_beneficiaire"] = luck.hit(0.6)


def add_joint(estate: Estate) -> None:
    """Add what is said of the undivided ownership between those who inherit."""
    family, luck = estate.family, estate.family.luck
    owners = family.takers[:6]
    if family.spouse.get("option") == "quart_pleine_propriete" or (family.survivor and len(owners) < 2):
        owners.append("CJ")
    while len(owners) < 2:
        known = [one["id"] for one in estate.thirds if one["id"] not in owners]
        owners.append(known[0] if known else estate.third(FAMILY_FRIENDS))
    joint: Part = {"indivisaires": owners}
    if estate.goods and luck.hit(0.4 + luck.density / 2):
        joint["biens"] = [one["id"] for one in estate.goods if one["type"] in BUILDINGS] or [estate.goods[0]["id"]]
        joint["biens"] = joint["biens"][:5]
    if luck.said():
        joint["convention"] = luck.hit(0.7)
        if joint["convention"] and luck.told():
            joint["duree_convention_annees"] = luck.between(1, 5)
    if luck.hit(0.3 + luck.density / 2):
        joint["blocage"] = luck.pick(BLOCKED)
    if luck.said():
        joint["occupation_privative"] = luck.pick(owners)
        if luck.told():
            joint["indemnite_occupation_mensuelle"] = luck.money(150, 2_500)
    _settle(estate, joint)
    estate.parts["indivision"] = joint


def _settle(estate: Estate, joint: Part) -> None:
    """Say the majority and what is done, as far as the shares and the goods allow."""
    family, luck = estate.family, estate.family.luck
    heir = {one["id"]: one for one in family.heirs}
    owners = [heir[one] for one in joint["indivisaires"] if one in heir]
    split = {one["id"] for one in estate.goods if one.get("demembrement") in ("usufruit", "nue_propriete")}
    free = not any(
        one["statut"] == "presume_absent" or "protection" in one or family.ages[one["id"]] < ADULT for one in owners
    )  # 836
    thirds = len(owners) >= 3 and len(owners) == len(joint["indivisaires"])  # then whoever refuses has a third at most
    if thirds and luck.said():
        joint["majorite_deux_tiers"] = luck.hit(0.7)
    if luck.hit(0.3 + luck.density / 2):
        actions = ["partage_judiciaire", "attribution_preferentielle", "maintien"]
        if joint.get("blocage") != "refus_de_partager":
            actions.append("partage_amiable")
        if joint.get("majorite_deux_tiers") and free and not split & set(joint.get("biens", [])):
            actions += ["vente_815_5_1"] * 3
        joint["action"] = luck.pick(actions)
    if joint.get("action", "").startswith("partage") and luck.told():
        joint["date_partage"] = luck.day(months_after(family.death, 6), months_after(family.death, 40)).isoformat()


def state_reserve(estate: Estate, share: Fraction | None) -> None:
    """Say the disposable share, where the law gives one below the whole."""
    if share is not None and share < 1:
        estate.parts["reserve"] = {"quotite_disponible": f"{share.numerator}/{share.denominator}"}
