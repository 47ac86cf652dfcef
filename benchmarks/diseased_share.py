"""How near the estimated share of diseased in a mixed set is to the truth, which labels tell.

    python benchmarks/diseased_share.py RUN...

RUN: trained on a set whose mixed images have labels, which training never reads. Prints a table and
writes it to docs/results/diseased-share.md.
"""

from pathlib import Path

import numpy as np

from a2bgan.detection.trained_model import read_selection
from a2bgan.errors import InputError
from a2bgan.training.run_folder import RunFolder
from result_page import script_parser, write_page


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    lines = [
        "# Estimated share of diseased in the mixed set",
        "",
        "How near is the share that is estimated without labels to the truth?",
        "",
        "`python benchmarks/diseased_share.py RUN...`",
        "",
        "| in A, by its labels | estimated without them (95 % interval) | apart | AUCp |",
        "| --- | --- | --- | --- |",
    ]
    for path in args.runs:
        run = RunFolder.open(path)
        selection = read_selection(run)
        if selection is None or "diseased_share" not in selection:
            raise InputError(f"{path}: no share was estimated; train with a held-out part")
        labels = [row.label for row in run.manifest().split("mixed")]
        if None in labels:
            raise InputError(f"{path}: mixed images without labels; the truth is not known")
        truth, share = float(np.mean(labels)), selection["diseased_share"]
        low, high = selection["diseased_share_ci"]
        lines.append(
            f"| {truth:.3f} | {share:.3f} ({low:.3f}-{high:.3f}) | {abs(share - truth):.3f} "
            f"| {selection['aucp']:.3f} |"
        )
        print(lines[-1])
    write_page(args.out / "diseased-share.md", lines)


if __name__ == "__main__":
    main()
