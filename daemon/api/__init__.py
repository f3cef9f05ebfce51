"""What can be asked of a running daemon, by programs, pages and the command line: one function for each thing."""
