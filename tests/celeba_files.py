"""CelebA's text files with four faces, for tests."""

from __future__ import annotations

from pathlib import Path


def write_celeba(root: Path) -> None:
    folder = root / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06}.png" for i in range(1, 5)]
    for text, head, rows in (
        ("list_eval_partition.txt", "", [[0], [2], [0], [1]]),
        ("identity_CelebA.txt", "", [[11], [22], [33], [44]]),
        ("list_attr_celeba.txt", "4\nBald Young \n", [[1, -1], [-1, -1], [1, 1], [-1, 1]]),
        ("list_bbox_celeba.txt", "4\nimage_id x_1 y_1 width height\n", [[i, 2, 3, 4] for i in range(4)]),
        ("list_landmarks_align_celeba.txt", "4\nlefteye_x lefteye_y\n", [[i, -i] for i in range(4)]),
    ):
        lines = [f"{name}  {' '.join(map(str, row))}\n" for name, row in zip(names, rows, strict=True)]
        (folder / text).write_text(head + "".join(lines))
