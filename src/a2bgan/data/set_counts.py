"""Numbers of images in the parts of a set."""

from dataclasses import astuple, dataclass

from a2bgan.errors import InputError


@dataclass(frozen=True, slots=True)
class SetCounts:
    """Numbers of images: of the healthy set, and of normal and abnormal ones in mixed and test."""

    healthy: int
    mixed_normal: int
    mixed_abnormal: int
    test_normal: int = 0
    test_abnormal: int = 0

    @property
    def total(self) -> int:
        return sum(astuple(self))

    @property
    def normal(self) -> int:
        return self.healthy + self.mixed_normal + self.test_normal

    @property
    def abnormal(self) -> int:
        return self.mixed_abnormal + self.test_abnormal

    def roles(self) -> list[tuple[str, int, int]]:
        """(split, label, number within these) of every image. InputError for a negative count."""
        if min(astuple(self)) < 0:
            raise InputError("numbers of images must be 0 or more")
        parts = (
            ("healthy", 0, self.healthy),
            ("mixed", 0, self.mixed_normal),
            ("mixed", 1, self.mixed_abnormal),
            ("test", 0, self.test_normal),
            ("test", 1, self.test_abnormal),
        )
        return [(split, label, k) for split, label, count in parts for k in range(count)]

    def times(self, factor: float) -> "SetCounts":
        """Every number times `factor`, rounded down."""
        # Products such as 90 * (70 / 90) may end just below the whole number.
        return SetCounts(*(int(count * factor + 1e-9) for count in astuple(self)))

    def fitting(self, normal: int, abnormal: int) -> "SetCounts":
        """The same where that many images suffice, else as many as they allow in proportion."""
        return self.times(min(1.0, normal / self.normal, abnormal / self.abnormal))
