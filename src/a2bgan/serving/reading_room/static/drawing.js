// From 16-bit planes to pictures. No state; (size * size) pixels in, RGBA out.

const TOP = 65535;

/** Windowed grey or colour planes; `channels` planes from `first` on. Window in shares of the range. */
export function windowed(planes, first, channels, size, { centre, width }, invert) {
  const count = size * size;
  const low = (centre - width / 2) * TOP;
  const scale = 255 / Math.max(width * TOP, 1);
  const out = new Uint8ClampedArray(count * 4);
  for (let c = 0; c < 3; c++) {
    const from = (first + (channels === 3 ? c : 0)) * count;
    for (let k = 0; k < count; k++) {
      const grey = (planes[from + k] - low) * scale;
      out[4 * k + c] = invert ? 255 - grey : grey;
    }
  }
  for (let k = 3; k < out.length; k += 4) out[k] = 255;
  return new ImageData(out, size, size);
}

/** The map in its colours: transparent at 0 and below `from`, opaque from a share of the scale on. */
export function coloured(planes, plane, size, peak, scale, from, colours, opaqueFrom) {
  const count = size * size;
  const out = new Uint8ClampedArray(count * 4);
  for (let k = 0; k < count; k++) {
    const level = Math.min((planes[plane * count + k] / TOP) * (peak / scale), 1);
    if (level < from) continue;
    const colour = colours[Math.round(level * (colours.length - 1))];
    out[4 * k] = colour[0];
    out[4 * k + 1] = colour[1];
    out[4 * k + 2] = colour[2];
    out[4 * k + 3] = 255 * Math.min(level / opaqueFrom, 1);
  }
  return new ImageData(out, size, size);
}

/** The value of a plane at a pixel, in [0, 1]. */
export function valueAt(planes, plane, size, x, y) {
  return planes[(plane * size + y) * size + x] / TOP;
}
