"""Paths -> parsed modules: discovery, decoding, the tree with its scopes, positions and comments."""
