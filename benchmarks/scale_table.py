"""Hours and cost of scoring very many images, from rates that `benchmarks/scoring.py` measured.

    python benchmarks/scale_table.py --machines 1 --machines 64 --price 0.10

Rates are those of docs/results/scoring.md, price is for an hour of a machine like the one they were
measured on. Parts are independent, so machines are taken to add up; what reading from shared disks
costs is not in it. Prints a table and writes it to docs/results/scale.md.
"""

import re
from pathlib import Path

from a2bgan.files.markdown import table_head, table_row
from result_page import script_parser, write_page

COUNTS = (1_000_000, 100_000_000, 10_000_000_000)


def main() -> None:
    parser = script_parser(__doc__, "docs/results/scale.md")
    parser.add_argument("--machines", type=int, action="append", help="by default 1 and 64")
    parser.add_argument("--price", type=float, default=0.10, help="of a machine's hour")
    parser.add_argument("--rates", type=Path, default=Path("docs/results/scoring.md"))
    args = parser.parse_args()
    machines = args.machines or [1, 64]
    chosen = "".join(f" --machines {number}" for number in machines)
    text = args.rates.read_text()
    head = [part for count in COUNTS for part in (f"{count:,}: hours", "cost")]
    lines = [
        "# Scale",
        "",
        f"`python benchmarks/scale_table.py{chosen} --price {args.price:g}`",
        "",
        f"From the rates in [{args.rates.name}]({args.rates.name}), images of 256 x 256. Of the "
        f"machine: {re.search('^.* threads, clock: [a-z]+', text, re.M).group()}. Hours for "  # type: ignore[union-attr]
        f"{' and '.join(map(str, machines))} of them; the cost, at {args.price:g} an hour, is the "
        "same for any number.",
        "",
        *table_head(["width", "way", "images/s", *head]),
    ]
    for width, way, rate in re.findall(r"^\| (\d+) \| (predict[^|]*) \| ([\d.]+) ", text, re.M):
        cells = [width, way, rate]
        for count in COUNTS:
            hours = count / float(rate) / 3600
            cells.append(" / ".join(f"{hours / number:,.1f}" for number in machines))
            cells.append(f"{hours * args.price:,.2f}")
        lines.append(table_row(cells))
    print(*lines[7:], sep="\n")
    write_page(args.out, lines)


if __name__ == "__main__":
    main()
