"""Where configuration lies, what it says, and which credential goes with it."""
