"""For each rule, a valid target spoilt so that this rule is broken: the proof that the validator sees. Judges nothing.

A planter changes a copy of a target and says whether it could; most add what they need, so that any target will do.
"""

import copy
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from corpus.domains.succession.case import ORDERS, TAKES
from corpus.server.targets import Target

Planter = Callable[[Target], bool]

MOST_HEIRS = 7  # planters add three at most, and the schema takes ten
BORN, DIED = "1948-05-02", "2021-03-14"  # for targets that do not say them


def _lived(target: Target) -> tuple[date, date]:
    """Return birth and death, said now if they were not; both, so that they agree."""
    who = target["defunt"]
    if "date_naissance" not in who or "date_deces" not in who:
        who["date_naissance"], who["date_deces"] = BORN, DIED
    return date.fromisoformat(who["date_naissance"]), date.fromisoformat(who["date_deces"])


def _heirs(target: Target) -> list[dict[str, Any]]:
    heirs: list[dict[str, Any]] = target.setdefault("heritiers", [])
    return heirs


def _new_heir(target: Target, link: str, status: str = "acceptant_pur_et_simple", **more: Any) -> dict[str, Any]:
    numbers = [int(one["id"][1:]) for one in _heirs(target)]
    one = {"id": f"H{max(numbers, default=0) + 1}", "lien": link, "statut": status, **more}
    _heirs(target).append(one)
    return one


def _own_line(target: Target) -> tuple[str, str]:
    """Return a link of the nearest order and who represents it; children where nobody inherits yet."""
    orders = [ORDERS[one["lien"]] for one in _heirs(target) if one["statut"] in TAKES]
    return ("frere", "neveu") if orders and min(orders) == 2 else ("enfant", "petit_enfant")


def _first(target: Target, block: str, **fields: Any) -> dict[str, Any]:
    """Return the first item of a list, made of `fields` where there is none."""
    items: list[dict[str, Any]] = target.setdefault(block, [])
    if not items:
        items.append(dict(fields))
    return items[0]


def _will(target: Target) -> dict[str, Any]:
    will: dict[str, Any] = target.setdefault("testament", {"forme": "authentique"})
    return will


def _r01(target: Target) -> bool:
    good = _first(target, "biens", id="B1", type="vehicule")
    target["biens"] = [*target["biens"][:7], {"id": good["id"], "type": "mobilier"}]
    return True


def _r02(target: Target) -> bool:
    target["defunt"] = {key: value for key, value in target["defunt"].items() if "regime" not in key}
    for key in ("clause_attribution_integrale", "clause_preciput", "contrat_de_mariage"):
        target["defunt"].pop(key, None)
    target["defunt"]["situation_matrimoniale"] = "veuf"
    target["conjoint"] = {**target.get("conjoint", {}), "lien": "conjoint_survivant"}
    return True


def _r02_option(target: Target) -> bool:
    for key in ("regime_matrimonial", "clause_attribution_integrale", "clause_preciput", "contrat_de_mariage"):
        target["defunt"].pop(key, None)
    target["defunt"]["situation_matrimoniale"] = "concubinage"
    target["conjoint"] = {"lien": "concubin", "option": "non_exercee"}
    return True


def _r03(target: Target) -> bool:
    target["heritiers"] = [{"id": "H1", "lien": "mere", "statut": "acceptant_pur_et_simple"}]
    target["conjoint"] = {"lien": "conjoint_survivant", "option": "quart_pleine_propriete"}
    target["defunt"]["situation_matrimoniale"] = "marie"
    return True


def _r04(target: Target) -> bool:
    _new_heir(target, "enfant", filiation="autre_lit")
    target["conjoint"] = {"lien": "conjoint_survivant", "option": "usufruit_totalite"}
    target["defunt"]["situation_matrimoniale"] = "marie"
    return True


def _r05(target: Target) -> bool:
    target["defunt"] |= {"situation_matrimoniale": "celibataire", "regime_matrimonial": "communaute_meubles_et_acquets"}
    return True


def _r06(target: Target) -> bool:
    _new_heir(target, _own_line(target)[1], represente="H99")
    return True


def _r07(target: Target) -> bool:
    link, below = _own_line(target)
    one = _new_heir(target, link)
    _new_heir(target, below, represente=one["id"])
    return True


def _r08(target: Target) -> bool:
    link, _ = _own_line(target)
    one = _new_heir(target, link, "predecede")
    other = _new_heir(target, link, represente=one["id"])
    one["represente_par"] = [other["id"]]
    return True


def _r09(target: Target) -> bool:
    link, below = _own_line(target)
    one = _new_heir(target, link, "predecede")
    _new_heir(target, below, represente=one["id"])
    return True


def _r10(target: Target) -> bool:
    one = _new_heir(target, "oncle", "predecede")
    one["represente_par"] = [_new_heir(target, "cousin", "predecede", represente=one["id"])["id"]]
    return True


def _r11(target: Target) -> bool:
    if not any(one["statut"] in TAKES and one["lien"] == "enfant" for one in _heirs(target)):
        _new_heir(target, "enfant")
    _new_heir(target, "cousin")
    return True


def _r12(target: Target) -> bool:
    target["donations"] = [*target.get("donations", [])[:4], {"id": "D9", "donataire": "T9", "forme": "notariee"}]
    return True


def _r12_owner(target: Target) -> bool:
    target.setdefault("indivision", {})["indivisaires"] = ["T8", "T9"]
    return True


def _r13(target: Target) -> bool:
    will = _will(target)
    to = _new_heir(target, _own_line(target)[0])["id"]
    will["legs"] = [*will.get("legs", [])[:3], {"id": "G9", "type": "particulier", "beneficiaire": to, "bien": "B99"}]
    return True


def _r14(target: Target) -> bool:
    born, died = _lived(target)
    target["defunt"] |= {"date_naissance": died.isoformat(), "date_deces": born.isoformat()}
    return True


def _r14_partition(target: Target) -> bool:
    if "indivision" not in target:
        return False
    target["indivision"]["date_partage"] = _lived(target)[1].isoformat()
    return True


def _r15(target: Target) -> bool:
    late = _lived(target)[1] + timedelta(days=40)
    _first(target, "donations", id="D1", donataire="CJ", forme="notariee")["date"] = late.isoformat()
    return True


def _r16(target: Target) -> bool:
    _will(target)["date"] = (_lived(target)[1] + timedelta(days=3)).isoformat()
    return True


def _r17(target: Target) -> bool:
    early = _lived(target)[0] - timedelta(days=400)
    _first(target, "assurances_vie", id="AV1")["date_souscription"] = early.isoformat()
    return True


def _r18(target: Target) -> bool:
    died = _lived(target)[1]
    target["defunt"]["date_naissance"] = died.replace(year=died.year - 66, day=1).isoformat()
    _first(target, "assurances_vie", id="AV1")["primes_apres_70_ans"] = 12_345
    return True


def _r19(target: Target) -> bool:
    for key in ("regime_matrimonial", "clause_attribution_integrale", "clause_preciput", "contrat_de_mariage"):
        target["defunt"].pop(key, None)
    target["defunt"]["situation_matrimoniale"] = "celibataire"
    good = _first(target, "biens", id="B1", type="vehicule")
    good.pop("quote_part_defunt", None)
    good["qualification"] = "commun"
    return True


def _r20(target: Target) -> bool:
    early = _lived(target)[1] + timedelta(days=30)
    _new_heir(target, _own_line(target)[0], sommation=early.isoformat())
    return True


def _r20_option(target: Target) -> bool:
    early = _lived(target)[1] - timedelta(days=1)
    _new_heir(target, _own_line(target)[0], date_option=early.isoformat())
    return True


def _r20_silence(target: Target) -> bool:
    died = _lived(target)[1]
    days = {"sommation": 150, "date_option": 230}
    said = {key: (died + timedelta(days=count)).isoformat() for key, count in days.items()}
    _new_heir(target, _own_line(target)[0], **said)
    return True


def _r21(target: Target) -> bool:
    _new_heir(target, _own_line(target)[0], "renoncant", quote_part="1/99")
    return True


def _r21_owner(target: Target) -> bool:
    link = _own_line(target)[0]
    gone, stays = _new_heir(target, link, "renoncant"), _new_heir(target, link)
    target.setdefault("indivision", {})["indivisaires"] = [gone["id"], stays["id"]]
    return True


def _r22(target: Target) -> bool:
    link = _own_line(target)[0]
    for _ in range(2):
        _new_heir(target, link, quote_part="2/3")
    return True


def _r23(target: Target) -> bool:
    gift = _first(target, "donations", id="D1", donataire="CJ", forme="notariee")
    gift |= {"forme": "notariee", "imputation": "hors_part", "rapportable": True}
    return True


def _r24(target: Target) -> bool:
    _will(target).update(forme="authentique", ecrit_a_la_main=True)
    return True


def _r25(target: Target) -> bool:
    good = _first(target, "biens", id="B1", type="terrain")
    good["demembrement"] = "nue_propriete"
    good.pop("age_usufruitier", None)
    return True


def _r26(target: Target) -> bool:
    _new_heir(target, _own_line(target)[0], age=12)
    return True


def _r26_will(target: Target) -> bool:
    born, _ = _lived(target)
    _will(target)["date"] = born.replace(year=born.year + 15, day=1).isoformat()
    return True


def _r27(target: Target) -> bool:
    to = _new_heir(target, _own_line(target)[0])["id"]
    _will(target)["legs"] = [{"id": "G1", "type": "universel", "beneficiaire": to, "valeur": 1_001}]
    return True


def _r28(target: Target) -> bool:
    capital = _first(target, "assurances_vie", id="AV1").setdefault("capital_deces", 87_654)
    _first(target, "biens", id="B1", type="compte_bancaire")["valeur"] = capital
    return True


def _r29(target: Target) -> bool:
    joint = target.setdefault("indivision", {"indivisaires": ["CJ", "H1"]})
    joint |= {"action": "vente_815_5_1", "majorite_deux_tiers": False}
    return True


def _r30(target: Target) -> bool:
    target["heritiers"] = [{"id": "H1", "lien": "enfant", "statut": "acceptant_pur_et_simple"}]
    target["reserve"] = {"quotite_disponible": "1/4"}
    return True


PLANTED: dict[str, tuple[Planter, ...]] = {
    "R01": (_r01,), "R02": (_r02, _r02_option), "R03": (_r03,), "R04": (_r04,), "R05": (_r05,), "R06": (_r06,),
    "R07": (_r07,), "R08": (_r08,), "R09": (_r09,), "R10": (_r10,), "R11": (_r11,), "R12": (_r12, _r12_owner),
    "R13": (_r13,), "R14": (_r14, _r14_partition), "R15": (_r15,), "R16": (_r16,), "R17": (_r17,), "R18": (_r18,),
    "R19": (_r19,), "R20": (_r20, _r20_option, _r20_silence), "R21": (_r21, _r21_owner), "R22": (_r22,),
    "R23": (_r23,), "R24": (_r24,), "R25": (_r25,), "R26": (_r26, _r26_will), "R27": (_r27,), "R28": (_r28,),
    "R29": (_r29,), "R30": (_r30,),
}  # fmt: skip


def plant(code: str, number: int, target: Mapping[str, Any]) -> Target | None:
    """Return a copy of a target that breaks a rule in its way number `number`; None where this target has no room."""
    if len(target.get("heritiers", [])) > MOST_HEIRS:
        return None
    spoilt = copy.deepcopy(dict(target))
    return spoilt if PLANTED[code][number](spoilt) else None
