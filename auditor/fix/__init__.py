"""Findings with edits -> changed text."""
