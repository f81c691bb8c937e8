"""Draws what searches for images by text find: one row for each question, as a PNG file.

    python -m examples.contact_sheet SPACE FOLDER OUT.png "a red circle" "two blue stars"

FOLDER is the one that the space was made of: ids of images are paths in it.
"""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw

from tasks.search import Query, Term, search
from tasks.space import open_space

SIDE = 128  # of a picture, in pixels
MARGIN, LINE = 8, 16
HITS = 6


def sheet(folder: Path, answers: dict[str, list[tuple[str, float]]]) -> Image.Image:
    """A row for each question: its text, then the pictures with their scores, best first."""
    row = LINE + SIDE + LINE + MARGIN
    columns = max(len(hits) for hits in answers.values())
    size = (MARGIN + columns * (SIDE + MARGIN), MARGIN + len(answers) * row)
    drawn = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(drawn)
    for number, (question, hits) in enumerate(answers.items()):
        top = MARGIN + number * row
        pen.text((MARGIN, top), question, "black")
        for place, (id_, score) in enumerate(hits):
            left = MARGIN + place * (SIDE + MARGIN)
            with Image.open(folder / id_) as picture:
                drawn.paste(picture.convert("RGB").resize((SIDE, SIDE)), (left, top + LINE))
            pen.text((left, top + LINE + SIDE), f"{score:.2f} {Path(id_).name}", "dimgray")
    return drawn


def main() -> None:
    """Reads the command line, asks, draws."""
    parser = argparse.ArgumentParser(description="Draw what searches for images by text find.")
    parser.add_argument("space")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("questions", nargs="+")
    args = parser.parse_args()
    space = open_space(args.space)
    answers = {}
    for question in args.questions:
        hits = search(space, Query([Term("text", question)], k=HITS, modality="image"))
        answers[question] = [(hit.id, hit.score) for hit in hits]
    sheet(args.folder, answers).save(args.out)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
