"""How many healthy patients a calibrated threshold flags, on real images that training never saw.

    python benchmarks/false_alarms.py --name NAME RUN...

Takes every healthy image of a run that neither trained nor selected anything: its calibration part
and the normal images of its test and extra splits. Splits their patients in two at random, 50
times; one half calibrates, the other is flagged. Prints a table and writes it to
docs/results/false-alarms-NAME.md.
"""

from pathlib import Path

import numpy as np

from a2bgan.data.holdout import Holdout
from a2bgan.detection.image_sets import load_labelled
from a2bgan.detection.measures.conformal import p_values
from a2bgan.detection.patient_scores import by_patient
from a2bgan.detection.trained_model import load_trained
from a2bgan.training.run_folder import RunFolder
from result_page import script_parser, write_page

SPLITS = 50
RATES = (0.05, 0.1)


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    lines = [
        f"# False alarms: {args.name}",
        "",
        "What share of healthy patients does a calibrated threshold flag?",
        "",
        f"`python benchmarks/false_alarms.py --name {args.name} RUN...`",
        "",
        f"{SPLITS} random splits of the same patients: one half calibrates, the other is flagged.",
        "",
        "| healthy patients | rate | flagged, each run | worst split |",
        "| --- | --- | --- | --- |",
    ]
    flagged: dict[float, list[list[float]]] = {rate: [] for rate in RATES}
    for path in args.runs:
        scores = patient_scores(RunFolder.open(path))
        rng = np.random.default_rng(0)
        for of_runs in flagged.values():
            of_runs.append([])
        for _ in range(SPLITS):
            order = rng.permutation(len(scores))
            calibration, new = scores[order[: len(order) // 2]], scores[order[len(order) // 2 :]]
            p = p_values(calibration, new)
            for rate, of_runs in flagged.items():
                of_runs[-1].append(float(np.mean(p <= rate)))
    for rate, of_runs in flagged.items():
        means = [f"{np.mean(of_splits):.3f}" for of_splits in of_runs]
        worst = max(max(of_splits) for of_splits in of_runs)
        lines.append(f"| {len(scores)} | {rate} | {', '.join(means)} | {worst:.3f} |")
        print(lines[-1], flush=True)
    write_page(Path(f"docs/results/false-alarms-{args.name}.md"), lines)


def patient_scores(run: RunFolder) -> np.ndarray:
    """The highest score of each healthy patient that the run knows nothing of."""
    trained, manifest = load_trained(run), run.manifest()
    holdout = Holdout.read(run.holdout_file)
    rows = [
        *holdout.rows(manifest, "healthy", "calibration"),
        *(r for split in ("test", "extra") for r in manifest.split(split) if r.label == 0),
    ]
    seen = {
        row.patient_id
        for split in ("healthy", "mixed")
        for part in ("training", "selection")
        for row in holdout.rows(manifest, split, part)
    }
    healthy, _ = load_labelled(
        [row for row in rows if row.label == 0 and row.patient_id not in seen], trained.config.data
    )
    scores = np.concatenate([batch.scores for batch in trained.detect_images(healthy.images)])
    patients = healthy.patients.tolist()
    return np.array(list(by_patient(patients, scores.astype(np.float64)).values()))


if __name__ == "__main__":
    main()
