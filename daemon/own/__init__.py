"""Events about ourselves, and who watches for them."""
