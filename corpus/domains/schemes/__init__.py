"""Dialogues by a logical scheme: a pupil says something, a philosopher answers by the scheme that is asked for."""
