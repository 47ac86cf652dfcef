// From levels and planes to pictures: pixels in, RGBA out. No state.

const TOP = 65535;

/**
 * A film in a window, which is in shares of the film's own: centre 0.5 and width 1 are what the
 * network sees.
 */
export function windowedFilm({ levels, bytes, offset, step, width, height, channels, window: own }, { centre, width: wide }, invert) {
  const [black, white] = own;
  const low = (black + (centre - wide / 2) * (white - black) - offset) / step;
  const scale = 255 / Math.max((wide * (white - black)) / step, 1e-9);
  const table = new Uint8ClampedArray(bytes === 1 ? 256 : TOP + 1);
  for (let level = 0; level < table.length; level++) {
    const grey = (level - low) * scale;
    table[level] = invert ? 255 - grey : grey;
  }
  const count = width * height;
  const out = new Uint32Array(count); // one number a pixel is four times as fast as four
  if (channels === 3) {
    for (let k = 0; k < count; k++) {
      out[k] = 0xff000000 | (table[levels[3 * k + 2]] << 16) | (table[levels[3 * k + 1]] << 8) | table[levels[3 * k]];
    }
  } else {
    const greys = Uint32Array.from(table, (grey) => 0xff000000 | (grey * 0x010101));
    for (let k = 0; k < count; k++) out[k] = greys[levels[k]];
  }
  return new ImageData(new Uint8ClampedArray(out.buffer), width, height);
}

/** The network's grey or colour planes in a window; `channels` planes from `first` on. */
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

/** The file's values of a film at a pixel, one or three. */
export function filmValues({ levels, offset, step, width, channels }, x, y) {
  const at = (y * width + x) * channels;
  return Array.from(levels.subarray(at, at + channels), (level) => offset + step * level);
}
