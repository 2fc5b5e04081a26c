"""Who does what to whom, as far as the order of words tells it."""

import pytest

from dialogue.french import in_order


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("La raison guide le désir.", "Le désir guide la raison.", False),
        ("Donc l'entendement suit la volonté.", "La volonté suit l'entendement.", False),
        ("Pierre aime Marie.", "Marie aime Pierre.", False),
        ("Pierre aime Marie.", "Marie est aimée par Pierre.", True),
        ("Karim cède moins vite à son envie.", "Son envie cède moins vite à Karim.", False),
        ("Karim cède moins vite à son envie.", "L'envie de Karim le fait céder moins vite.", True),
        ("Tu connais cette cause.", "Cette cause, tu la connais.", True),  # two words tell nothing
        ("Cette rencontre nous rend joyeux.", "Joyeux rend nous rencontre cette.", False),
        ("Tu dors.", "La mer est calme.", True),  # nothing in common: others say so
        ("", "", True),
    ],
)
def test_order(first: str, second: str, same: bool) -> None:
    assert in_order(first, second) is same
    assert in_order(second, first) is same
