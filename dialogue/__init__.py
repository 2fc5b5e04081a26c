"""The conversation as data. Pure Python, no I/O; knows personas, and nothing of engines, tiers or pages."""
