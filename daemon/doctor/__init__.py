"""What is wrong with an installation, and how to mend it: each module judges one part, `examine` runs them all."""
