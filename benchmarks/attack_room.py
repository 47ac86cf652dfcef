"""Readers of the reading room while others hoard connections: are they kept out, or kept waiting?

    python benchmarks/attack_room.py --clients 200 --attackers 200

Starts `a2bgan serve` in a process of its own. Readers, each from an address of its own (127.1.x.y),
look through the worklist and its pictures. Meanwhile attackers in another process open connections
and say nothing or half a request, and open another as soon as one is closed: first all from one
address, then each from its own. Prints a table and writes it to docs/results/attack-room.md.
"""

import argparse
import asyncio
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from reading_room import free_port, wait_for
from result_page import script_parser, write_page
from upload_fuzz import train_tiny

ATTACKS = {"none": "nobody", "one": "{} from one address", "own": "{}, each from its own address"}
PAUSE = 10.0
"""Seconds between two requests of a reader, on average."""

LONGEST_PAUSE = 12.0
"""The server closes a connection that is idle for 15 seconds; a browser would open another."""

PATIENCE = 20.0
"""A request without an answer after so many seconds counts as refused."""


@dataclass
class Readers:
    """What the readers met."""

    times: list[float] = field(default_factory=list)
    refused: int = 0
    opened: list[int] = field(default_factory=list)

    def milliseconds(self, share: float) -> float:
        return 1000 * float(np.quantile(self.times, share))


async def read(found: Readers, port: int, number: int, until: float) -> None:
    """Be one reader until a time: a new connection for every five requests."""
    rng = random.Random(number)
    address = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
    await asyncio.sleep(rng.uniform(0, PAUSE))
    while time.monotonic() < until:
        writer = None
        try:
            began = time.monotonic()
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=address
                )
            for _ in range(5):
                path = rng.choice(("cases?limit=20", "cases/1/pixels", "cases/2/thumbnail"))
                async with asyncio.timeout(PATIENCE):
                    writer.write(f"GET /api/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    await reader.readexactly(size)
                if not head.startswith(b"HTTP/1.1 200 "):
                    raise ConnectionError
                found.times.append(time.monotonic() - began)
                await asyncio.sleep(min(rng.expovariate(1 / PAUSE), LONGEST_PAUSE))
                began = time.monotonic()
                if began >= until:
                    break
        except (OSError, EOFError, TimeoutError):
            found.refused += 1
        finally:
            if writer is not None:
                writer.close()


async def attack(port: int, count: int, own: bool) -> None:
    """Hold so many connections open until SIGTERM; print how many were opened in all."""
    opened = 0

    async def hoard(number: int) -> None:
        nonlocal opened
        address = f"127.2.{number // 250}.{number % 250 + 1}" if own else "127.2.0.1"
        while True:
            with suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(address, 0)
                )
                opened += 1
                if number % 2:
                    writer.write(b"GET /api/cases HTTP/1.1\r\nHost: loc")
                await reader.read()
                writer.close()
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(hoard(number)) for number in range(count)]
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    for task in tasks:
        task.cancel()
    print(opened)


def measure(port: int, kind: str, args: argparse.Namespace, found: Readers) -> None:
    """One round of readers, with attackers of a kind."""
    attackers = None
    if kind != "none":
        command = [sys.executable, __file__, "attack", str(port), str(args.attackers), kind]
        attackers = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        time.sleep(4)  # until all of them are there

    async def all_readers() -> None:
        until = time.monotonic() + args.seconds
        await asyncio.gather(*(read(found, port, k, until) for k in range(args.clients)))

    asyncio.run(all_readers())
    if attackers is not None:
        attackers.terminate()
        said, _ = attackers.communicate()
        found.opened.append(int(said))


def main() -> None:
    if sys.argv[1:2] == ["attack"]:
        asyncio.run(attack(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "own"))
        return
    parser = script_parser(__doc__, "docs/results/attack-room.md")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--attackers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=3, help="of each kind, in turn")
    args = parser.parse_args()
    found: dict[str, Readers] = defaultdict(Readers)
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as name:
        run, port = train_tiny(Path(name)), free_port()
        command = [sys.executable, "-m", "a2bgan.cli.app", "serve", str(run), "--port", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(f"http://127.0.0.1:{port}/healthz", server)
            measure(port, "none", argparse.Namespace(**{**vars(args), "seconds": 5}), Readers())
            for _ in range(args.rounds):
                for kind in ATTACKS:
                    measure(port, kind, args, found[kind])
        finally:
            server.terminate()
            server.wait()
    lines = [
        "# The reading room under attack",
        "",
        "Can readers still work while attackers hoard connections?",
        "",
        f"`python benchmarks/attack_room.py --clients {args.clients} --attackers {args.attackers}`",
        "",
        f"{os.cpu_count()} CPUs ({platform.machine()}); server, {args.clients} readers and "
        f"{args.attackers} attackers on one machine. A reader asks every {PAUSE:g} s on average. "
        "Half of the attackers send nothing and half send half a request; each reconnects after a "
        f"second. {args.rounds} rounds of {args.seconds:g} s of each row, in turn; ratios are to "
        "the first row.",
        "",
        "| attackers | connections they opened | readers' requests | refused or unanswered "
        "| p50, ms | p99, ms | p50, ratio | p99, ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    base = found["none"]
    for kind, readers in found.items():
        p50, p99 = readers.milliseconds(0.5), readers.milliseconds(0.99)
        lines.append(
            f"| {ATTACKS[kind].format(args.attackers)} | {sum(readers.opened)} "
            f"| {len(readers.times)} | {readers.refused} | {p50:.1f} | {p99:.1f} "
            f"| {p50 / base.milliseconds(0.5):.2f} | {p99 / base.milliseconds(0.99):.2f} |"
        )
    print(*lines, sep="\n")
    write_page(args.out, lines)
    if any(readers.refused for readers in found.values()):
        raise SystemExit("readers were kept out")


if __name__ == "__main__":
    main()
