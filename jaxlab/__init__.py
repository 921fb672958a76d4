"""jaxlab: a JAX functional research codebase. See WORKSPACE.md for the map."""

__version__ = "0.1.0"
