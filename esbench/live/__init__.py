"""The live page: a page about a run or a restoration, served on this machine while it is running."""
