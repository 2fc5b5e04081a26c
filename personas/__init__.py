"""Who speaks: one TOML per philosopher, and the twelve logical schemes. Knows nothing of any other room.

>>> get_persona("kant").short_name
'Kant'
"""

from personas.loader import (
    PERSONAS,
    SCHEMES,
    MoveName,
    Persona,
    Sampling,
    Scheme,
    get_persona,
    get_scheme,
    load_persona,
    load_schemes,
)

__all__ = [
    "PERSONAS",
    "SCHEMES",
    "MoveName",
    "Persona",
    "Sampling",
    "Scheme",
    "get_persona",
    "get_scheme",
    "load_persona",
    "load_schemes",
]
