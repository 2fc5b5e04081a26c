"""Personas and schemes: what ships is right, and a wrong file is named with its key and its remedy."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from errors import PersonaError
from personas import PERSONAS, SCHEMES, get_persona, get_scheme, load_persona, load_schemes

FOLDER = Path(__file__).parents[2] / "personas"

STARTERS = {
    "spinoza": (
        "La liberté est-elle une illusion ?",
        "Suis-je esclave de mes désirs ?",
        "Puis-je maîtriser mes émotions ?",
        "La joie procure-t-elle un pouvoir ?",
        "Peut-on désirer sans souffrir ?",
    ),
    "bergson": (
        "Le temps est-il mesurable ?",
        "La conscience est-elle un flux ou une succession d'états ?",
        "Peut-on prévoir l'avenir ?",
        "La mémoire est-elle utile ?",
        "L'intelligence peut-elle tout comprendre ?",
    ),
    "kant": (
        "Peut-on connaître la réalité telle qu'elle est ?",
        "La morale dépend-elle de nos sentiments ?",
        "Puis-je vouloir le mal ?",
        "Qu'est-ce qu'être libre ?",
        "La dignité humaine a-t-elle un prix ?",
    ),
}


@pytest.mark.parametrize("key", STARTERS)
def test_the_five_starters_are_the_programme_s(key: str) -> None:
    assert PERSONAS[key].starters == STARTERS[key]


def test_the_twelve_schemes_ship_with_their_validity() -> None:
    assert list(SCHEMES) == "MP MT SH SD DI RA ID OP DS CA AN IN".split()
    assert {s.id for s in SCHEMES.values() if s.validity == "probable"} == {"CA", "AN", "IN"}
    assert {s.id for s in SCHEMES.values() if s.validity == "conceptuel"} == {"DS"}


def test_prefixes_differ_in_size_and_name_the_philosopher() -> None:
    for persona in PERSONAS.values():
        assert len(persona.short_prompt.split()) <= 80 < len(persona.full_prompt.split())
        assert persona.short_name in persona.short_prompt
        assert persona.short_name in persona.full_prompt


def test_a_persona_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        PERSONAS["kant"].key = "hume"  # type: ignore[misc]


@pytest.mark.parametrize(("key", "hint"), [("spinosa", "Did you mean 'spinoza'"), ("hegel", "Known: bergson, kant")])
def test_an_unknown_persona_gets_a_helpful_answer(key: str, hint: str) -> None:
    with pytest.raises(PersonaError, match=hint):
        get_persona(key)


def test_an_unknown_scheme_gets_a_helpful_answer() -> None:
    with pytest.raises(PersonaError, match="Known: AN, CA"):
        get_scheme("XX")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "Immanuel Kant"', "", "kant.toml: key 'name' is missing"),
        ('name = "Immanuel Kant"', "name = 3", "kant.toml: name: expected a text"),
        ('name = "Immanuel Kant"', 'name = "Immanuel Kant"\ndate = "x"', "unknown key 'date'. Did you mean 'dates'"),
        ("temperature = 0.7", "temperature = 7", "sampling.temperature is 7.0; expected 0 to 2"),
        ("temperature = 0.7", 'temperature = "chaud"', "temperature: expected a number"),
        ('key = "kant"', 'key = "emmanuel"', "expected 'kant', the name of the file"),
        ('key = "kant"', 'key = "kant', "no TOML file"),
        ("La dignité humaine a-t-elle un prix ?", "", "starters: expected a list of texts, none of them empty"),
    ],
)
def test_a_broken_persona_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = (FOLDER / "kant.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "kant.toml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PersonaError) as caught:
        load_persona(path)
    assert said in str(caught.value)


def test_a_missing_file_and_a_wrong_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(PersonaError, match=r"kant\.toml is missing"):
        load_persona(tmp_path / "kant.toml")
    (tmp_path / "kant.toml").write_bytes("clé = 'été'".encode("latin-1"))
    with pytest.raises(PersonaError, match="UTF-8"):
        load_persona(tmp_path / "kant.toml")


def test_a_scheme_named_twice_is_refused(tmp_path: Path) -> None:
    text = (FOLDER / "schemes.toml").read_text(encoding="utf-8")
    path = tmp_path / "schemes.toml"
    path.write_text(text.replace('id = "MT"', 'id = "MP"'), encoding="utf-8")
    with pytest.raises(PersonaError, match="scheme 2: id 'MP' stands twice"):
        load_schemes(path)
    path.write_text("", encoding="utf-8")
    with pytest.raises(PersonaError, match=r"no .+scheme.+ table"):
        load_schemes(path)


def test_truth_tables_of_the_propositional_schemes() -> None:
    """What follows in every case is valid; the three classic fallacies do not follow."""

    def follows(premises: object, conclusion: object) -> bool:
        cases = [(p, q, r) for p in (True, False) for q in (True, False) for r in (True, False)]
        return all(conclusion(*case) for case in cases if all(premise(*case) for premise in premises))  # type: ignore[operator,attr-defined]

    if_p_q = lambda p, q, r: not p or q  # noqa: E731
    assert follows([if_p_q, lambda p, q, r: p], lambda p, q, r: q)
    assert follows([if_p_q, lambda p, q, r: not q], lambda p, q, r: not p)
    assert follows([if_p_q, lambda p, q, r: not q or r], lambda p, q, r: not p or r)
    assert follows([lambda p, q, r: p or q, lambda p, q, r: not p], lambda p, q, r: q)
    assert follows([lambda p, q, r: p or q, lambda p, q, r: not p or r, lambda p, q, r: not q or r], lambda p, q, r: r)
    assert follows([lambda p, q, r: p or (q and not q)], lambda p, q, r: p)  # noqa: SIM220
    assert not follows([if_p_q, lambda p, q, r: q], lambda p, q, r: p)
    assert not follows([if_p_q, lambda p, q, r: not p], lambda p, q, r: not q)
    assert not follows([lambda p, q, r: p or q, lambda p, q, r: p], lambda p, q, r: not q)
