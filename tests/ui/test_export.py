"""A conversation as a file: everything that was said, the schemes, the sources, and what to beware of."""

import re

from dialogue.conversation import Turn
from dialogue.debate import Speech
from dialogue.maieuthon import N_EXCHANGES, remark
from personas import SCHEMES, get_persona
from personas.questions import questions_of
from ui.export import fiche, markdown, question_of, schemes_used, sources_used, speech_of, spoken
from ui.french import FRENCH
from ui.session import Margin, Session, Source
from ui.texts import untied

KANT = get_persona("kant")
CHAT = (Turn("assistant", KANT.opening), Turn("user", "Oui, je crois."), Turn("assistant", "Pourquoi ?"))
SOURCE = Source(1, "Kant", "Fondements", "section II", "La maxime\nde la volonté.", "", "https://example.org/a")
TRAIL = {2: Margin("MT", "Si tu mens, alors tu perds.", (SOURCE,))}
EVIL = "<script>alert(1)</script>"


def test_markdown_holds_everything_that_was_said() -> None:
    text = markdown(KANT, Session(), CHAT, TRAIL, "fr")
    assert text.startswith("# Peut-on, selon toi, connaître la réalité telle qu'elle est ?\n")
    assert "**Moi** : Oui, je crois." in text
    assert "**Kant** : Pourquoi ?" in text
    assert "*Schéma : Modus tollens — Si tu mens, alors tu perds.*" in text
    assert "1. Kant, Fondements, section II <https://example.org/a>\n\n   > La maxime de la volonté." in text
    assert text.rstrip().endswith(FRENCH["export_caveat"].format(name="Kant"))


def test_a_fiche_is_one_document_with_nothing_remote() -> None:
    html = fiche(KANT, Session(), CHAT, TRAIL, "fr")
    for part in (FRENCH["fiche_path"], "Oui, je crois.", "Modus tollens", "Kant, Fondements, section II", "@page"):
        assert part in html.replace("&#x27;", "'")
    assert not re.search(r"(src|href)=|url\(", html)
    assert len(re.findall("<h1>", html)) == 1


def test_no_line_of_a_fiche_begins_with_a_mark() -> None:
    turns = (*CHAT[:1], Turn("user", "Qu'est-ce que « voir » : est-ce savoir ?"), *CHAT[2:])
    body = fiche(KANT, Session(question=questions_of("kant")[0].text), turns, TRAIL, "fr").split("</style>")[1]
    assert "savoir\u202f?" in body
    assert not re.search("« | [»:?!;]", body)


def test_a_fiche_escapes_what_was_written() -> None:
    evil = (Turn("assistant", f"{EVIL} ?"), Turn("user", EVIL), Turn("assistant", EVIL))
    source = Source(1, EVIL, EVIL, EVIL, EVIL)
    assert "<script" not in fiche(KANT, Session(question=EVIL), evil, {2: Margin("MT", EVIL, (source,))}, "fr")


def test_a_long_path_stays_on_one_page() -> None:
    turns = tuple(Turn(role, "mot " * 500) for _ in range(30) for role in ("user", "assistant"))
    html = fiche(KANT, Session(), turns, {}, "fr")
    assert html.count("<li>") == 8
    assert len(html) < 6_000


def test_a_maieuthon_is_exported_with_its_recap() -> None:
    turns: list[Turn] = [CHAT[0], Turn("user", "Je ne sais pas."), Turn("assistant", "Tu")]  # stopped: no exchange
    trail: dict[int, Margin] = {}
    last = "Mais je distingue la raison qui oblige et la raison qui explique, parce que la première commande."
    for said in (*["Je pense que la raison compte, parce que je la vois."] * (N_EXCHANGES - 1), last):
        turns += [Turn("user", said), Turn("assistant", "Et ?")]
        trail[len(turns) - 1] = Margin("DS", remark=remark(said))
    session = Session("maieuthon", questions_of("kant")[0].text)
    for text in (markdown(KANT, session, turns, trail, "fr"), untied(fiche(KANT, session, turns, trail, "fr"))):
        for key in ("recap", "recap_best", "to_try"):
            assert FRENCH[key] in text.replace("&#x27;", "'")
        assert f"« {last} »" in text.split(FRENCH["recap_best"])[1]
    assert markdown(KANT, session, turns, trail, "fr").count("> Ce que tu viens de faire") == N_EXCHANGES


def test_a_debate_is_exported_with_its_speakers() -> None:
    spinoza = get_persona("spinoza")
    said = (spoken(KANT, "Non."), spoken(spinoza, "Voyons."))
    turns = (*(Turn("assistant", one) for one in said), Turn("user", "Kant."))
    session = Session("debate", questions_of("kant")[0].text, "spinoza")
    text = markdown(KANT, session, turns, {}, "en")
    assert "**Kant**: Non." in text
    assert "**Spinoza**: Voyons." in text
    assert "**Me**: Kant." in text
    assert text.startswith(f"# {questions_of('kant')[0].text_en}\n")


def test_speeches_there_and_back() -> None:
    assert speech_of(Turn("assistant", spoken(KANT, "Non.\n\nEncore."))) == Speech("kant", "Non.\n\nEncore.")
    assert speech_of(Turn("user", spoken(KANT, "Je signe Kant."))).speaker is None
    assert speech_of(Turn("assistant", "**Hume**\n\nNon.")).speaker is None


def test_what_a_talk_is_about() -> None:
    assert question_of(Session(), CHAT, "fr") == "Peut-on, selon toi, connaître la réalité telle qu'elle est ?"
    assert question_of(Session(), (), "fr") == ""


def test_each_scheme_and_source_stands_once() -> None:
    twice = {2: TRAIL[2], 4: TRAIL[2], 6: Margin("DS")}
    assert [one.id for one in schemes_used(twice)] == ["MT", "DS"]
    assert sources_used(twice) == (SOURCE,)


def test_an_english_file_names_schemes_in_english() -> None:
    for write in (markdown, fiche):
        text = write(KANT, Session(), CHAT, {2: Margin("SH")}, "en")
        assert SCHEMES["SH"].name_en in text
        assert SCHEMES["SH"].name not in text


def test_a_debate_names_both_whom_the_program_imitates() -> None:
    session = Session("debate", questions_of("kant")[0].text, "spinoza")
    chat = (Turn("assistant", spoken(KANT, "Non.")), Turn("assistant", spoken(get_persona("spinoza"), "Si.")))
    for text in (markdown(KANT, session, chat, {}, "fr"), fiche(KANT, session, chat, {}, "fr")):
        assert "un programme qui imite Kant et Spinoza." in text
