"""HTTP: the server, the receiver on the public listener, and the admin application."""
