"""How training data is made and checked. Knows dialogues, exercises and personas; trains nothing."""
