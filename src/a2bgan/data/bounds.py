"""Upper bounds of settings: far beyond what is of use, and within what a machine can be asked for.

A configuration may come from a stranger; without bounds, one number in it takes all memory.
"""

SIDE = 4096
"""Pixels a side that images are brought to."""

CHANNELS = 1024
"""Channels of a network's first convolution, which the deepest ones have several times."""

LAYERS = 64
"""Blocks or convolutions of a network."""

NETWORKS = 32
"""Networks of a kind that learn together."""

UNITS = 16_384
"""Numbers in a code, and units of a fully connected layer."""

BATCH = 4096
"""Images in a step."""

STEPS = 10**9
"""Steps of a training, and images that are counted."""

MINUTES = 10**6
"""Minutes of a training: two years."""

SEED = 2**63 - 1
"""Largest seed that PyTorch's generators take."""

MACHINES = 1024
"""Devices of a machine, and machines."""

RATE = 10.0
"""Learning rate."""

WEIGHT = 10.0**6
"""Weight of a term of a loss."""

PATCHES = 10**7
"""Patches that are kept in memory."""

WEIGHTS = 10**9
"""Numbers that a method's networks learn: 4 GB in single precision. The largest preset has a fourth
of it."""

LEVEL = 3.4e38
"""Raw value of a pixel: what single precision holds."""
