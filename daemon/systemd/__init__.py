"""What the daemon and the service manager say to each other: readiness, sockets, the watchdog."""
