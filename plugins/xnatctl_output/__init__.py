"""How documents and progress look."""
