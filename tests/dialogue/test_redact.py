"""Personal data goes, philosophers stay, and a second time changes nothing."""

import json
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue.redact import PLACEHOLDERS, Told, find_pii, redact

PII = Path(__file__).parents[2] / "data" / "eval" / "pii.jsonl"
ROWS = [json.loads(line) for line in PII.read_text("utf-8").splitlines()]
PIECES = st.sampled_from(
    [
        "je m'appelle ",
        "Zoé",
        " Le Goff",
        "mon lycée ",
        "Victor-Hugo",
        "06 39 98 12 45",
        " 12 rue des Lilas",
        ", 35000 Rennes",
        "zoe@example.org",
        "@zoe_35",
        "né le 14 mars 2009",
        "terminale 3",
        "TG4",
        "[nom]",
        "[",
        "]",
        " ",
        "\n",
        "moi c'est ",
        "insta ",
        "https://exemple.org/a",
        "1",
        "0",
        "@",
        ".",
        "M. ",
        "prof",
        "Kant",
        "é",
        "😀",
    ]
)


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_labelled_data_goes_and_the_rest_stays(row: dict[str, object]) -> None:
    text, spans = str(row["text"]), row["spans"]
    assert isinstance(spans, list)
    out = redact(text)
    for start, end, _ in spans:
        assert text[start:end] not in out
    if not spans:
        assert out == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("appelle-moi au 0 6 3 9", "appelle-moi au 0 6 3 9"),
        ("+33639980731", "[téléphone]"),
        ("06/39/98/12/45", "[téléphone]"),
        ("zoe (at) example (dot) org", "[courriel]"),
        ("mon NIR 2 08 03 35 238 123 45", "mon NIR [numéro]"),
        ("INE : 123456789AB", "INE : [numéro]"),
        ("Kant est né le 22 avril 1724", "Kant est né le 22 avril 1724"),
        ("je m'appelle comme Spinoza", "je m'appelle comme Spinoza"),
        ("06\u00a012\u202f34\u00a056\u00a078", "[téléphone]"),
        ("+33.6.12.34.56.78", "[téléphone]"),
        ("tel.0612345678, num,0612345679", "tel.[téléphone], num,[téléphone]"),
        ("j'habite au 12 rue des lilas à rennes", "j'habite au [adresse] à rennes"),
        ("je suis au lycée victor hugo", "je suis au [établissement]"),
        ("je suis au lycée et je travaille", "je suis au lycée et je travaille"),
        ("mon lycée c'est Victor-Hugo", "mon lycée c'est [établissement]"),
        ("mon lycée s'appelle Victor Hugo", "mon lycée s'appelle [établissement]"),
        ("Bonjour, je suis Léa.", "Bonjour, je suis [nom]."),
        ("On a eu 3 cours sur Spinoza", "On a eu 3 cours sur Spinoza"),
        ("12 cours de Vincennes", "[adresse]"),
        ("l'école de la République", "l'école de la République"),
        ("Bergson au Collège de France", "Bergson au Collège de France"),
        ("Pour moi c'est Camus qui a raison", "Pour moi c'est Camus qui a raison"),
        ("Je me présente au bac", "Je me présente au bac"),
        ("je me présente : Zoé", "je me présente : [nom]"),
        ("entre T1 et T2", "entre T1 et T2"),
        ("je suis en T3", "je suis en [établissement]"),
        ("Antigone enterre son frère Polynice", "Antigone enterre son frère Polynice"),
    ],
)
def test_forms(text: str, out: str) -> None:
    assert redact(text) == out


@pytest.mark.parametrize(
    "text",
    [
        "JE SUIS LIBRE.",
        "JE SUIS À BOUT.",
        "C'EST FAUX.",
        "C'EST L'ENFER.",
        "C'est OK.",
        "MOI, C'EST FAUX.",
        "POUR MOI C'EST FAUX.",
        "JE ME DEMANDE SI DIEU EXISTE.",
        "MON PÈRE ME FRAPPE.",
        "Mes amis sont sur TikTok aussi.",
        "Mes amis sont sur TikTok souvent... et moi non.",
        "Montaigne et son ami La Boétie",
        "Montaigne et son ami Étienne de La Boétie",
        "Marx et son ami Engels",
        "Dans 20 ans, serai-je le même ?",
        "J'ai 17 ans et je doute.",
        "moi, c'est la liberté qui m'intéresse",
        "Moi, c'est Bouddha que je préfère.",
        "Pour moi, c'est Bouddha.",
        "je suis perdu et j'ai une question",
        "Bonjour Kant, je suis perdu.",
        "mon lycée c'est nul",
        "mon lycée c'est super cool",
        "Mon lycée c'est toujours pareil.",
        "mon lycée c'est comme une prison",
        "Ton lycée s'appelle comment ?",
    ],
)
def test_what_announces_nobody_stays(text: str) -> None:
    told = Told()
    assert told.learn(text) == text
    later = "Libre de quoi ? Faux, dans un sens. Moi aussi."
    assert told.hide(later) == later


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("JE M'APPELLE KARIM", "JE M'APPELLE [nom]"),
        ("MOI C'EST KARIM", "MOI C'EST [nom]"),
        ("MON FRÈRE S'APPELLE KARIM.", "MON FRÈRE S'APPELLE [nom]."),
        ("mon frère KARIM", "mon frère [nom]"),
        ("mon prof de SVT Martin", "mon prof de SVT [nom]"),
        ("faut demander KARIM", "faut demander [nom]"),
        ("mon insta lea_", "mon insta [compte]"),
        ("mon insta c'est lea.dupont.", "mon insta c'est [compte]."),
        ("mon snap lea35", "mon snap [compte]"),
        ("je m'appelle karim benali", "je m'appelle [nom]"),
        ("je m'appelle karim benali et j'ai 17 ans", "je m'appelle [nom] et j'ai 17 ans"),
        ("Je m'appelle Karim benali, enchanté.", "Je m'appelle [nom], enchanté."),
        ("je m'appelle marie le goff.", "je m'appelle [nom]."),
        ("je m'appelle jean clément 👋", "je m'appelle [nom] 👋"),
        ("je m'appelle karim et toi", "je m'appelle [nom] et toi"),
        ("je m'appelle karim aussi", "je m'appelle [nom] aussi"),
        ("je m'appelle karim enchanté !", "je m'appelle [nom] enchanté !"),
        ("je m'appelle karim tout simplement.", "je m'appelle [nom] tout simplement."),
        ("Moi, c'est Karim.", "Moi, c'est [nom]."),
        ("moi, c'est KARIM", "moi, c'est [nom]"),
        ("Bonjour Kant, je suis Karim.", "Bonjour Kant, je suis [nom]."),
        ("Bonjour monsieur Kant, c'est Karim.", "Bonjour monsieur Kant, c'est [nom]."),
        ("Bonjour à tous ! Je suis Karim.", "Bonjour à tous ! Je suis [nom]."),
        ("Je suis Karim et j'ai une question.", "Je suis [nom] et j'ai une question."),
        ("Je suis Karim et toi ?", "Je suis [nom] et toi ?"),
        ("mon lycée c'est victor hugo", "mon lycée c'est [établissement]"),
        ("mon lycée c'est victor hugo à Lille.", "mon lycée c'est [établissement] à Lille."),
        ("mon lycée c'est louis-le-grand.", "mon lycée c'est [établissement]."),
        ("notre lycée s'appelle condorcet", "notre lycée s'appelle [établissement]"),
        ("mon lycée s'appelle lycée victor hugo", "mon lycée s'appelle lycée [établissement]"),
    ],
)
def test_what_is_announced_goes(text: str, out: str) -> None:
    assert redact(text) == out


def test_decomposed_letters_and_emoji_hide_nothing() -> None:
    text = unicodedata.normalize("NFD", "Je m'appelle Zoé 👋 zoé@exemple.fr")
    assert redact(text) == "Je m'appelle [nom] 👋 [courriel]"


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=200))
def test_twice_is_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert find_pii(once) == []


@pytest.mark.parametrize("who", ["Camus", "Simone de Beauvoir", "Bouddha"])
def test_a_name_that_is_not_the_pupils_stays_whole(who: str) -> None:
    assert redact(f"Pour moi c'est {who} qui a raison.") == f"Pour moi c'est {who} qui a raison."


@given(st.text(max_size=200))
def test_spans_are_inside_and_apart(text: str) -> None:
    normal, last = unicodedata.normalize("NFC", text), 0
    for span in find_pii(text):
        assert last <= span.start < span.end <= len(normal)
        assert span.kind in PLACEHOLDERS
        last = span.end


@pytest.mark.parametrize(
    "page",
    [
        "Bonjour Kant, que dire du temps ? " * 117,
        "a" * 4000,
        "1 rue de la " * 330,
        "0" * 4000,
        f"Mme {'A-' * 1900}A",
        f"Mme {'A ' * 1900}A",
        f"C'est Oh{' La' * 1300} ?",
        f"Moi c'est Oh{' La' * 1300} qui",
        f"Au lycée {'A-' * 1900}a",
        f"j'habite rue {'De-La-' * 600}?",
    ],
)
def test_a_page_is_fast(page: str) -> None:
    taken = []
    for _ in range(5):
        start = time.thread_time()
        redact(page)
        taken.append(time.thread_time() - start)
    assert min(taken) < 1.0  # 25 ms on a core of ours; a pattern without end takes minutes


def test_a_name_is_known_by_its_capital_and_in_its_parts() -> None:
    told = Told(but=["Immanuel", "Kant"])
    assert told.learn("Je m'appelle Rose de La Tour-Kant.") == "Je m'appelle [nom]."
    assert (
        told.hide("ROSE, la rose a-t-elle un but ? Kant, Tour, tour, de La.")
        == "[nom], la rose a-t-elle un but ? Kant, Tour, tour, de La."
    )
    assert Told().hide("Rose") == "Rose"


@given(st.lists(PIECES, max_size=8).map("".join), st.text(max_size=120))
def test_what_was_told_is_hidden_once_and_for_all(said: str, text: str) -> None:
    told = Told()
    assert told.learn(said) == redact(said)
    once = told.hide(text)
    assert told.hide(once) == once
