"""Where credentials may be found."""
