"""A credential source that asks a vault over HTTP."""
