"""Messages in, tokens out. Knows nothing of tiers, users or prices."""
