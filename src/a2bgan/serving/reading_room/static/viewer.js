// The panes: input, healthy twin and map, with one window, one zoom and one place for all.

import { coloured, valueAt, windowed } from "./drawing.js";

const START = { centre: 0.5, width: 1 };
const MOST_ZOOM = 32;

export class Viewer {
  /**
   * root: element for the panes. room: what the server says of its pictures.
   * changed: called when a setting changes, to show it.
   */
  constructor(root, room, changed) {
    this.room = room;
    this.pictures = room.pictures;
    this.changed = changed;
    this.planes = null;
    this.window = { ...START };
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.blend = 0;
    this.opacity = 0;
    this.threshold = 0;
    this.invert = false;
    this.smooth = true;
    this.wipe = false;
    this.contour = false;
    this.contours = [];
    this.tool = "window";
    this.pointer = null;
    this.pending = false;
    const { channels, twin, map } = this.pictures;
    const kinds = [["input", "Input"]];
    if (twin) kinds.push(["twin", "Healthy twin"]);
    if (map) kinds.push(["map", this.pictures.map_name]);
    this.twinPlane = channels;
    this.mapPlane = channels * (twin ? 2 : 1);
    this.layers = { input: surface(), twin: surface(), map: surface() };
    root.replaceChildren();
    this.root = root;
    this.panes = kinds.map(([kind, name]) => this.#pane(kind, name));
    this.layout = "all";
    new ResizeObserver(() => this.draw()).observe(root);
  }

  /** Show a case, in the window and at the place of the one before. */
  show(planes, peak, contours) {
    Object.assign(this, { planes, peak, contours });
    this.#renew();
  }

  clear() {
    this.planes = null;
    this.draw();
  }

  set(name, value) {
    this[name] = value;
    if (["invert", "threshold", "window"].includes(name)) this.#renew();
    this.draw();
    this.changed();
  }

  arrange(layout) {
    if (layout !== "all" && !this.panes.some((pane) => pane.kind === layout)) return;
    this.layout = layout;
    for (const pane of this.panes) pane.figure.hidden = layout !== "all" && pane.kind !== layout;
    this.root.dataset.count = layout === "all" ? this.panes.length : 1;
    this.draw();
    this.changed();
  }

  reset() {
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.set("window", { ...START });
  }

  moveWindow(width, centre) {
    const { window: now } = this;
    this.set("window", {
      width: clamp(now.width + width, 0.01, 2),
      centre: clamp(now.centre + centre, -0.5, 1.5),
    });
  }

  /** Zoom by a factor about a place of the picture, in shares of its side. */
  zoomBy(factor, x = this.view.x, y = this.view.y) {
    const zoom = clamp(this.view.zoom * factor, 1, MOST_ZOOM);
    const kept = this.view.zoom / zoom;
    this.view = { zoom, x: x + (this.view.x - x) * kept, y: y + (this.view.y - y) * kept };
    this.#keepInside();
  }

  /** Pan by shares of the picture's side. */
  pan(x, y) {
    this.view = { ...this.view, x: this.view.x + x, y: this.view.y + y };
    this.#keepInside();
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      for (const pane of this.panes) if (!pane.figure.hidden) this.#paint(pane);
    });
  }

  #keepInside() {
    const half = 0.5 / this.view.zoom;
    this.view.x = clamp(this.view.x, half, 1 - half);
    this.view.y = clamp(this.view.y, half, 1 - half);
    this.draw();
    this.changed();
  }

  #renew() {
    if (!this.planes) return;
    const { size, channels, twin, map, map_scale: scale } = this.pictures;
    const put = (layer, data) => {
      layer.width = layer.height = size;
      layer.getContext("2d").putImageData(data, 0, 0);
    };
    put(this.layers.input, windowed(this.planes, 0, channels, size, this.window, this.invert));
    if (twin) {
      const data = windowed(this.planes, this.twinPlane, channels, size, this.window, this.invert);
      put(this.layers.twin, data);
    }
    if (map) {
      const { colours, opaque_from: opaqueFrom } = this.room;
      put(this.layers.map, coloured(
        this.planes, this.mapPlane, size, this.peak, scale, this.threshold, colours, opaqueFrom,
      ));
    }
    this.draw();
  }

  #pane(kind, name) {
    const figure = document.createElement("figure");
    const canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption");
    const readout = document.createElement("output");
    caption.textContent = name;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", name);
    canvas.dataset.kind = kind;
    figure.append(canvas, caption, readout);
    this.root.append(figure);
    const pane = { kind, figure, canvas, readout };
    this.#listen(pane);
    return pane;
  }

  /** Where the picture lies in a pane, in CSS pixels. */
  #place(pane) {
    const { clientWidth: width, clientHeight: height } = pane.canvas;
    const side = Math.min(width, height) * this.view.zoom;
    return {
      width, height, side,
      left: width / 2 - this.view.x * side,
      top: height / 2 - this.view.y * side,
    };
  }

  #paint(pane) {
    const { canvas } = pane;
    const ratio = window.devicePixelRatio || 1;
    const { width, height, side, left, top } = this.#place(pane);
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = this.smooth;
    context.imageSmoothingQuality = "high";
    pane.readout.textContent = "";
    if (!this.planes) return;
    const put = (layer, alpha = 1) => {
      context.globalAlpha = alpha;
      context.drawImage(layer, left, top, side, side);
      context.globalAlpha = 1;
    };
    if (pane.kind === "input") {
      put(this.layers.input);
      if (this.pictures.twin) {
        if (this.wipe && this.pointer) this.#paintWipe(context, put, left + this.pointer.x * side, width, height);
        else put(this.layers.twin, this.blend);
      }
      if (this.pictures.map) put(this.layers.map, this.opacity);
    } else {
      put(this.layers[pane.kind]);
      if (pane.kind === "map") this.#paintScale(context, width, height);
    }
    if (this.contour) this.#paintContours(context, pane, left, top, side);
    if (this.pointer) this.#paintPointer(context, pane, left, top, side);
  }

  #paintContours(context, pane, left, top, side) {
    const { colour, rate } = this.room.contour;
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const line of this.contours) {
      line.forEach(([x, y], k) => context[k ? "lineTo" : "moveTo"](left + x * side, top + y * side));
    }
    context.stroke();
    if (pane.kind !== "input") return;
    // The legend: a piece of line, and what it stands for.
    context.fillStyle = colour;
    context.fillRect(10, 33, 16, 2);
    const legend = `${this.contours.length ? "contour," : "no contour here;"} in at most ${100 * rate} % of the healthy`;
    context.font = "12px system-ui, sans-serif";
    context.lineWidth = 3;
    context.strokeStyle = "rgba(0, 0, 0, .7)";
    context.strokeText(legend, 32, 38);
    context.fillStyle = "#d6dce1";
    context.fillText(legend, 32, 38);
  }

  // Left of the pointer the input, right of it the twin.
  #paintWipe(context, put, edge, width, height) {
    context.save();
    context.beginPath();
    context.rect(edge, 0, width - edge, height);
    context.clip();
    put(this.layers.twin);
    context.restore();
    context.fillStyle = "#5fb3c6";
    context.fillRect(edge - 0.5, 0, 1, height);
  }

  #paintScale(context, width, height) {
    const { colours } = this.room;
    const tall = Math.min(96, height / 3);
    const [x, bottom] = [width - 18, height - 12];
    colours.forEach((colour, k) => {
      context.fillStyle = `rgb(${colour.join()})`;
      const part = tall / colours.length;
      context.fillRect(x, bottom - (k + 1) * part, 8, part + 0.5);
    });
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "right";
    context.fillStyle = "#b9c3cb";
    context.fillText("0", x - 5, bottom);
    context.fillText(`≥ ${this.pictures.map_scale.toPrecision(2)}`, x - 5, bottom - tall + 9);
  }

  #paintPointer(context, pane, left, top, side) {
    const { x, y } = this.pointer;
    if (pane !== this.pointer.pane) {
      const [px, py] = [left + x * side, top + y * side];
      context.fillStyle = "rgba(95, 179, 198, .9)";
      for (const sign of [-1, 1]) {
        context.fillRect(px - 0.5, py + sign * 4, 1, sign * 7);
        context.fillRect(px + sign * 4, py - 0.5, sign * 7, 1);
      }
    }
    const { size, map } = this.pictures;
    if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
    const [column, row] = [Math.floor(x * size), Math.floor(y * size)];
    if (pane.kind === "map" && map) {
      const value = valueAt(this.planes, this.mapPlane, size, column, row) * this.peak;
      pane.readout.textContent = value.toPrecision(3);
    } else {
      const plane = pane.kind === "twin" ? this.twinPlane : 0;
      pane.readout.textContent = valueAt(this.planes, plane, size, column, row).toFixed(3);
    }
  }

  #listen(pane) {
    const { canvas } = pane;
    const held = new Map();
    let apart = 0;
    const where = (event) => {
      const box = canvas.getBoundingClientRect();
      const { side, left, top } = this.#place(pane);
      return { pane, x: (event.clientX - box.left - left) / side, y: (event.clientY - box.top - top) / side };
    };
    const spread = () => {
      const [a, b] = [...held.values()];
      return Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, event);
      if (held.size === 2) apart = spread();
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      this.pointer = where(event);
      const before = held.get(event.pointerId);
      if (!before) {
        this.draw();
        return;
      }
      const dx = event.clientX - before.clientX;
      const dy = event.clientY - before.clientY;
      held.set(event.pointerId, event);
      const { side } = this.#place(pane);
      if (held.size === 2) {
        const now = spread();
        this.zoomBy(now / Math.max(apart, 1), this.pointer.x, this.pointer.y);
        apart = now;
        this.pan(-dx / side / 2, -dy / side / 2);
      } else if (this.tool === "pan" || event.shiftKey || event.buttons & 6) {
        this.pan(-dx / side, -dy / side);
      } else {
        this.moveWindow(dx / 400, -dy / 400);
      }
    });
    const release = (event) => held.delete(event.pointerId);
    canvas.addEventListener("pointerup", release);
    canvas.addEventListener("pointercancel", release);
    canvas.addEventListener("pointerleave", () => {
      this.pointer = null;
      this.draw();
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { x, y } = where(event);
      this.zoomBy(Math.exp(-event.deltaY / 400), x, y);
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }
}

function surface() {
  return document.createElement("canvas");
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
