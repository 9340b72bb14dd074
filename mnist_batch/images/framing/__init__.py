"""Framing: turns any decoded image into 28x28, white ink on black."""
