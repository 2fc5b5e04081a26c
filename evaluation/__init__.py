"""How good the answers are, in figures. Knows engines, dialogue, personas and retrieval; makes and trains nothing."""
