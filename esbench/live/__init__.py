"""Watching: a page of a run or a restoration, served on this machine while it goes on."""
