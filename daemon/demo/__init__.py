"""The demo: the real daemon on the quickstart example, real signed samples, and stand-ins for what it delivers to."""
