"""Requirements documents: somebody tells an idea in his own words, an analyst makes requirements of it."""
