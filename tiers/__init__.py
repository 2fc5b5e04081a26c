"""Who answers, and what it costs. Knows engines, dialogue, personas and retrieval; no page, no HTTP."""
