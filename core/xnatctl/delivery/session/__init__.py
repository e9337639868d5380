"""The stage `session`: check the server, import, settle and verify one session."""
