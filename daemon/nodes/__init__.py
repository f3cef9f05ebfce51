"""Who this node is, who the others are, and what of each limit is its own."""
