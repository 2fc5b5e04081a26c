"""From JSONL to an adapter, offline. Imports no other room; heavy libraries are imported where they are used."""
