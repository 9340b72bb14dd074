"""The digits as pen strokes: the forms that people write, and the path of the pen in each.

Knows points only, not pixels. The points were set by hand for this project and not traced from any data set.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """One way of writing a digit.

    share: a guess of how many in a hundred writers use this form. A digit's shares sum to 100.
    strokes: what the pen draws without being lifted, as the points "x,y" that it passes through; x to the right and y
        down, in hundredths of the digit's height. The pen turns sharply at a point followed by "|", and smoothly at
        all others. Equal points are the same place on the paper: they stay together when the digit is varied.
    """

    share: int
    strokes: tuple[str, ...]


FORMS: dict[int, tuple[Form, ...]] = {
    0: (
        # Counterclockwise from the top, closed; the same, but past its start; clockwise, slightly open.
        Form(50, ("36,1 10,22 5,68 31,99 58,72 60,25 36,1 29,2",)),
        Form(30, ("49,9 30,1 6,34 13,84 36,98 61,61 54,15 32,5",)),
        Form(20, ("16,17 37,2 61,32 55,80 31,98 5,66 10,24 22,8",)),
    ),
    1: (
        # A plain stroke; with a flag; with flag and base.
        Form(62, ("33,2 31,50 31,98",)),
        Form(26, ("19,25 28,15 35,2 | 34,50 33,98",)),
        Form(
            12,
            (
                "17,25 26,15 34,2 | 33,50 33,97",
                "9,98 33,97 58,96",
            ),
        ),
    ),
    2: (
        # A corner at the foot; a loop at the foot; a wavy foot.
        Form(45, ("6,24 15,7 34,1 53,11 54,32 40,57 21,80 4,97 | 32,95 63,96",)),
        Form(32, ("7,21 20,5 40,2 54,17 50,42 35,68 18,90 6,95 3,86 13,78 29,84 45,95 66,92",)),
        Form(23, ("7,20 23,3 45,5 54,25 43,54 23,80 5,96 | 23,88 44,95 65,89",)),
    ),
    3: (
        # A point in the middle; a small loop there; a flat top.
        Form(52, ("7,13 26,1 47,7 51,24 40,40 21,47 | 46,54 57,73 47,92 24,99 3,88",)),
        Form(28, ("7,14 28,1 49,11 47,31 33,45 20,49 17,44 27,43 46,53 56,72 46,93 25,99 4,90",)),
        Form(20, ("6,5 29,4 54,3 | 41,22 27,41 | 49,51 57,72 45,93 21,99 2,88",)),
    ),
    4: (
        # Open at the top, with a corner; closed, with the bar through the stem; open and round like a u.
        Form(
            45,
            (
                "13,3 9,28 5,54 | 33,54 65,50",
                "53,6 49,50 45,98",
            ),
        ),
        Form(
            30,
            (
                "47,2 25,32 2,63 | 34,62 68,61",
                "47,2 46,50 45,98",
            ),
        ),
        Form(
            25,
            (
                "9,6 5,32 14,49 35,47 54,35",
                "57,3 52,50 46,98",
            ),
        ),
    ),
    5: (
        # The top bar drawn last; in one stroke from the right; without corners, like an s.
        Form(
            42,
            (
                "13,5 11,24 9,43 | 28,36 49,45 56,68 45,91 22,99 2,88",
                "13,5 36,4 61,2",
            ),
        ),
        Form(38, ("61,3 38,4 15,6 | 12,25 10,43 | 31,38 51,50 55,72 40,94 18,98 2,90",)),
        Form(20, ("61,3 35,4 17,17 18,38 40,49 53,68 42,92 20,99 3,91",)),
    ),
    6: (
        # A round back; a straight back with a small bowl; a bowl that curls inwards.
        Form(45, ("47,2 25,19 9,47 4,76 18,97 40,96 54,78 44,60 24,61 7,79",)),
        Form(30, ("36,2 20,32 7,64 10,89 29,99 49,87 50,66 33,57 10,72",)),
        Form(25, ("53,6 36,4 14,28 4,62 11,90 33,99 54,84 52,61 31,55 15,70 20,84",)),
    ),
    7: (
        # Two straight strokes; with a bar; with a serif; softly curved.
        Form(38, ("4,7 31,6 60,4 | 47,34 36,66 28,98",)),
        Form(
            20,
            (
                "4,8 31,7 60,4 | 46,34 35,66 27,98",
                "17,52 37,50 60,47",
            ),
        ),
        Form(17, ("4,19 7,6 | 33,6 60,5 | 45,31 36,62 34,98",)),
        Form(25, ("3,15 20,6 43,6 57,11 52,34 38,66 26,98",)),
    ),
    8: (
        # An s that is closed on the way back; two rings, one above the other; begins and ends at the top right, open.
        Form(52, ("49,11 31,1 12,12 15,33 34,48 53,66 49,91 28,99 7,87 10,66 31,49 48,31 50,13 44,6",)),
        Form(
            20,
            (
                "31,48 13,36 13,12 32,1 50,12 49,36 31,48",
                "31,48 8,63 8,89 31,99 54,88 53,63 31,48",
            ),
        ),
        Form(28, ("57,8 36,2 14,14 20,37 41,55 51,77 36,97 13,91 11,71 33,50 50,33 61,14",)),
    ),
    9: (
        # A straight tail from a corner; a tail that hooks back; a loop with a tail that leans away below it.
        Form(45, ("53,12 34,1 11,14 7,36 22,49 43,40 54,13 | 52,56 48,98",)),
        Form(27, ("53,13 34,1 11,13 7,35 22,48 43,41 54,17 | 57,52 48,85 28,99 8,92",)),
        Form(28, ("51,16 33,2 11,14 8,36 24,46 44,34 51,16 49,42 38,72 29,98",)),
    ),
}
