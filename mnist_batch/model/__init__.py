"""Models: open, test, calibrate and run them."""
