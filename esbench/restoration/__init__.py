"""Restore a user's pictures."""
