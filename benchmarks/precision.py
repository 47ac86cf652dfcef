"""What bfloat16 and 8-bit integers cost in AUROC and gain in speed, on a trained run.

    python benchmarks/precision.py RUN

RUN is a run of `a2bgan train` whose data has labelled test images. int8 is onnxruntime's static
quantisation (QDQ, per channel) of the exported ONNX file, with scales from the run's training
images. Seconds are the processor's. Prints a table and writes it to docs/results/precision.md.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.detect import in_batches
from a2bgan.detection.export import export
from a2bgan.detection.exported_model import load_exported
from a2bgan.detection.image_sets import RunImages, load_labelled
from a2bgan.detection.measures.metrics import auroc
from a2bgan.detection.predict import Model
from a2bgan.detection.trained_model import load_trained
from a2bgan.training.run_folder import RunFolder
from result_page import script_parser, write_page

MARGIN = 0.005


def main() -> None:
    parser = script_parser(__doc__, "docs/results/precision.md")
    parser.add_argument("run", type=Path)
    args = parser.parse_args()
    run = RunFolder.open(args.run)
    trained = load_trained(run)
    images = RunImages.of_run(run)
    parts = [images.part(name, "training", 64).images for name in ("healthy", "mixed")]
    held = np.concatenate(parts)
    test, labels = load_labelled(run.manifest().split("test"), trained.data)
    lines = [
        "# Precision of scoring",
        "",
        "What do bfloat16 and int8 change, and what do they save?",
        "",
        "`python benchmarks/precision.py RUN`",
        "",
        f"{len(labels)} test images of {trained.data.size} x {trained.data.size}, A2B-GAN of width "
        f"{trained.config.method.translator.width}, score {trained.pick.score}. Shift: median and "
        "largest change of a score, relative to the median score.",
        "",
        "| way | AUROC | change of AUROC | shift of scores | processor ms an image |",
        "| --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        file, other = Path(folder, "model.onnx"), Path(folder, "model.xml")
        export(trained, None, held, "onnx", file)
        export(trained, None, held, "openvino", other)
        models: dict[str, Model] = {
            "PyTorch, float32": trained,
            "PyTorch, bfloat16": replace(trained, half=True),
            "OpenVINO, float32": load_exported(other),
            "OpenVINO, bfloat16": load_exported(other, half=True),
            "onnxruntime, float32": load_exported(file),
            "onnxruntime, int8": load_exported(quantised(file, to_unit_range(held).numpy())),
        }
        first: np.ndarray | None = None
        for name, model in models.items():
            scores, seconds = timed(lambda model=model: score(model, test.images))
            first = scores if first is None else first
            shift = np.abs(scores - first) / np.median(first)
            area, lost = auroc(labels, scores), auroc(labels, scores) - auroc(labels, first)
            lines.append(
                f"| {name} | {area:.4f} | {lost:+.4f}{'' if abs(lost) < MARGIN else ' (too much)'} "
                f"| {np.median(shift):.2%}, {shift.max():.2%} | {1e3 * seconds / len(labels):.1f} |"
            )
            print(lines[-1], flush=True)
    write_page(args.out, lines)


def score(model: Model, images: np.ndarray) -> np.ndarray:
    batches = model.detect(in_batches(images, model.batch_size))
    return np.concatenate([batch.scores.numpy() for batch in batches])


def timed(task: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.process_time()
    result = task()
    return result, time.process_time() - began


def quantised(file: Path, x: np.ndarray) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"image": x[k : k + 8]} for k in range(0, len(x), 8)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    out = file.with_name("int8.onnx")
    quantize_static(file, out, Reader(), per_channel=True, op_types_to_quantize=["Conv"])
    return out


if __name__ == "__main__":
    main()
