"""From a base and an adapter to a GGUF that llama.cpp runs. Knows files; knows nothing of tiers, pages or prompts."""
