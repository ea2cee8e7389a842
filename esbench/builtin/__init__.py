"""The components that come with esbench, a package for each kind, a file for each component."""
