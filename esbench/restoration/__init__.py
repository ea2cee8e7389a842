"""Restoring a user's own pictures."""
