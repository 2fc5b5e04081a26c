"""Passages for a question. Knows embeddings and lexical search; no persona, no prompt, no tier."""
