"""The plugin platform: hookspecs, specs, protocols, discovery, registry."""
