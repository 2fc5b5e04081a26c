"""French succession cases: what a family says to whom it asks for advice. No jurist has read the rules."""
