"""The scheme dataset: a bank of contents, the surfaces that say them, what is made of both, and its checks."""
