"""What a visitor sees: the page and its texts. Knows dialogue, personas and tiers; no engine, no setting."""
