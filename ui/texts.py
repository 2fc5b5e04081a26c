"""Every sentence of the page, in French and English. Knows no widget and no event.

A key stands once in each language; `text` fills its `{names}`. French is the page's own language: English is a
translation for teachers and visitors, and the philosophers answer in French whichever is shown.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Language = Literal["fr", "en"]

FRENCH: Mapping[str, str] = MappingProxyType(
    {
        # The page.
        "title": "Bergson and Friends",
        "subtitle": "Penser avec un philosophe, une question à la fois.",
        "language": "Langue de la page",
        "theme": "Passer du clair au sombre",
        "choose": "Choisis un philosophe",
        "talking_with": "Conversation avec",
        "new_conversation": "Nouvelle conversation",
        "starters": "Ou commence par une de ses questions",
        "box_label": "Ta réponse ou ta question",
        "box_placeholder": "Écris à {name}…",
        "send": "Envoyer",
        "stop": "Arrêter",
        "chat_label": "Conversation",
        "information_title": "Avant de commencer",
        "information_first": "Tu parles à un programme qui imite {name}.",
        "information_rest": "Il se trompe et peut inventer des citations. N'écris ni ton nom, ni ton lycée. "
        "Rien n'est enregistré. 15 ans ou plus, ou avec un parent.",
        "information_language": "",
        # The small buttons that Gradio draws beside a message.
        "icon_copy": "Copier le message",
        "icon_copied": "Message copié",
        "icon_copy_all": "Copier la conversation",
        "icon_retry": "Demander une autre réponse",
        "icon_edit": "Modifier mon message",
        "icon_edit_submit": "Envoyer le message modifié",
        "icon_edit_cancel": "Annuler la modification",
        "icon_scroll": "Aller à la fin de la conversation",
        # What the tier is doing.
        "starting": "Le modèle se prépare.",
        "downloading": "Le modèle se prépare : téléchargement.",
        "assembling": "Le modèle se prépare : assemblage.",
        "checking": "Le modèle se prépare : vérification.",
        "loading": "Le modèle se prépare : chargement en mémoire.",
        "ready": "Le modèle est prêt : tu peux écrire.",
        "queued_next": "Tu es le prochain : la réponse arrive.",
        "queued": "Il y a du monde : tu es à la place {place} dans la file.",
        "queued_eta": "Il y a du monde : tu es à la place {place} dans la file, encore {seconds} s environ.",
        "stopped": "Réponse arrêtée.",
        "deadline": "La réponse a été arrêtée parce qu'elle prenait trop de temps.",
        # Lasting notices.
        "hub_unreachable": "Le modèle choisi n'a pas pu être téléchargé.",
        "using_embedded": "Je réponds avec le petit modèle embarqué.",
        "nobody_answers": "La page reste ouverte, mais personne ne peut répondre pour le moment.",
        # Errors, by the `code` of `errors.ChatError`.
        "message_empty": "Ton message est vide : écris quelque chose, puis envoie.",
        "message_too_long": "Ton message est trop long ({limit} caractères au plus) : raccourcis-le, puis renvoie-le.",
        "message_order": "Cette conversation ne peut pas continuer ainsi. Commence une nouvelle conversation.",
        "model_missing": "Le fichier du modèle est introuvable.",
        "model_corrupt": "Le fichier du modèle est abîmé.",
        "model_not_chat": "Le fichier choisi n'est pas un modèle de conversation.",
        "answer_empty": "Aucune réponse n'est venue. Renvoie ton message, ou dis-le autrement.",
        "engine_busy": "Trop d'élèves écrivent en ce moment. Attends un peu, puis renvoie ton message.",
        "engine_timeout": "La réponse s'est fait trop attendre. Renvoie ton message dans un instant.",
        "engine_missing": "Le moteur n'est pas installé : personne ne peut répondre.",
        "lexical_only": "Les idées sont cherchées par les mots seuls : dis ta question avec des mots simples.",
        "ledger_unavailable": "Le compte des réponses ne peut pas être tenu : le service complet est fermé.",
        "login_expired": "Ta connexion a expiré : connecte-toi de nouveau.",
        "memory_short": "La machine n'a pas assez de mémoire pour ce modèle.",
        "bad_schema": "Le schéma JSON demandé ne peut pas être suivi.",
        "engine_failed": "Le moteur s'est arrêté pendant la réponse. Renvoie ton message.",
        "conversation_too_long": "Cette conversation est devenue trop longue. Commence une nouvelle conversation.",
        "tier_unavailable": "Le philosophe ne peut pas répondre pour le moment. Reviens plus tard.",
        "source_unreachable": "Le modèle n'a pas pu être téléchargé : le réseau ne répond pas.",
        "source_corrupt": "Le modèle téléchargé est abîmé : il a été refusé.",
        "disk_full": "Le disque est plein : le modèle n'a pas pu être enregistré.",
        "conversion": "La préparation du modèle a échoué.",
        "retrieval": "Les notes de lecture sont abîmées : le philosophe répond sans elles.",
        "settings": "Un réglage de la page est faux : prévenez la personne qui s'en occupe.",
        "persona": "Le fichier d'un philosophe est abîmé : la conversation est impossible tant qu'il n'est pas réparé.",
        "internal": "Quelque chose s'est mal passé de notre côté. Renvoie ton message.",
    }
)

ENGLISH: Mapping[str, str] = MappingProxyType(
    {
        "title": "Bergson and Friends",
        "subtitle": "Think with a philosopher, one question at a time.",
        "language": "Language of the page",
        "theme": "Switch between light and dark",
        "choose": "Choose a philosopher",
        "talking_with": "Conversation with",
        "new_conversation": "New conversation",
        "starters": "Or begin with one of these questions",
        "box_label": "Your answer or your question",
        "box_placeholder": "Write to {name}…",
        "send": "Send",
        "stop": "Stop",
        "chat_label": "Conversation",
        "information_title": "Before you begin",
        "information_first": "You are talking to a program that imitates {name}.",
        "information_rest": "It makes mistakes and may invent quotations. Write neither your name nor your school. "
        "Nothing is recorded. 15 or older, or with a parent.",
        "information_language": "The philosophers answer in French.",
        "icon_copy": "Copy the message",
        "icon_copied": "Message copied",
        "icon_copy_all": "Copy the conversation",
        "icon_retry": "Ask for another answer",
        "icon_edit": "Edit my message",
        "icon_edit_submit": "Send the edited message",
        "icon_edit_cancel": "Cancel the edit",
        "icon_scroll": "Go to the end of the conversation",
        "starting": "The model is getting ready.",
        "downloading": "The model is getting ready: downloading.",
        "assembling": "The model is getting ready: putting it together.",
        "checking": "The model is getting ready: checking it.",
        "loading": "The model is getting ready: loading it into memory.",
        "ready": "The model is ready: you can write.",
        "queued_next": "You are next: the answer is coming.",
        "queued": "Many pupils are here: you are number {place} in the queue.",
        "queued_eta": "Many pupils are here: you are number {place} in the queue, about {seconds} s to wait.",
        "stopped": "Answer stopped.",
        "deadline": "The answer was stopped because it took too long.",
        "hub_unreachable": "The chosen model could not be downloaded.",
        "using_embedded": "The small embedded model answers.",
        "nobody_answers": "The page stays open, but nobody can answer at the moment.",
        "message_empty": "Your message is empty: write something, then send it.",
        "message_too_long": "Your message is too long (at most {limit} characters): shorten it, then send it again.",
        "message_order": "This conversation cannot go on like this. Start a new conversation.",
        "model_missing": "The model's file cannot be found.",
        "model_corrupt": "The model's file is damaged.",
        "model_not_chat": "The chosen file is not a chat model.",
        "answer_empty": "No answer came. Send your message again, or say it differently.",
        "engine_busy": "Too many pupils are writing now. Wait a little, then send your message again.",
        "engine_timeout": "The answer took too long to come. Send your message again in a moment.",
        "engine_missing": "The engine is not installed: nobody can answer.",
        "lexical_only": "Ideas are searched by words alone: put your question in plain words.",
        "ledger_unavailable": "The account of answers cannot be kept: the full service is closed.",
        "login_expired": "Your login has expired: log in again.",
        "memory_short": "The machine has not enough memory for this model.",
        "bad_schema": "The JSON schema that was asked for cannot be followed.",
        "engine_failed": "The engine stopped during the answer. Send your message again.",
        "conversation_too_long": "This conversation has become too long. Start a new conversation.",
        "tier_unavailable": "The philosopher cannot answer at the moment. Come back later.",
        "source_unreachable": "The model could not be downloaded: the network does not answer.",
        "source_corrupt": "The downloaded model is damaged: it was refused.",
        "disk_full": "The disk is full: the model could not be saved.",
        "conversion": "The model could not be prepared.",
        "retrieval": "The reading notes are damaged: the philosopher answers without them.",
        "settings": "A setting of the page is wrong: tell the person who looks after it.",
        "persona": "A philosopher's file is damaged: no conversation is possible until it is repaired.",
        "internal": "Something went wrong on our side. Send your message again.",
    }
)

TEXTS: Mapping[Language, Mapping[str, str]] = MappingProxyType({"fr": FRENCH, "en": ENGLISH})


def language_of(value: object) -> Language:
    """Return the language that a browser asked for; whatever is not English is French."""
    return "en" if value == "en" else "fr"


def text(language: Language, key: str, **names: object) -> str:
    """Return the sentence `key` in `language`, its `{names}` filled.

    Raises:
        KeyError: There is no such sentence: the caller has a fault.

    >>> text("en", "box_placeholder", name="Kant")
    'Write to Kant…'
    """
    return TEXTS[language][key].format(**names)


def text_of_code(language: Language, code: str, *, otherwise: str = "internal", **names: object) -> str:
    """Return the sentence for a code that comes from another room; one that the page does not know reads `otherwise`.

    >>> text_of_code("fr", "never_heard_of") == text("fr", "internal")
    True
    """
    return text(language, code if code in TEXTS[language] else otherwise, **names)
