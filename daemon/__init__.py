"""Everything that touches the world: receiver, store, dispatcher, admin, command line."""
