"""Framing: any decoded image to 28x28, white ink on black."""
