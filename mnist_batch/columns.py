"""The names of the columns of the output. Every part that reads or writes them takes them from here."""

ID = "id"
LABEL = "label"
PREDICTION = "prediction"
CONFIDENCE = "confidence"
DIGIT_SCORE = "digit_score"
PROBABILITIES = tuple(f"p{digit}" for digit in range(10))

# The columns of `predictions/` by the type of their values; `id` is text.
INTEGERS = (LABEL, PREDICTION)
FLOATS = (CONFIDENCE, DIGIT_SCORE, *PROBABILITIES)
ALL = (ID, *INTEGERS, *FLOATS)
