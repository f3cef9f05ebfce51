"""How destinations stand, and trying one out."""
