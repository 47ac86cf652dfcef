// Puts the parts together: worklist, viewer, verdicts, dropped files, keys.

import { explain, listen } from "./keys.js";
import { pText, percent, scoreText } from "./rounding.js";
import * as server from "./server.js";
import { Training } from "./training.js";
import { Viewer } from "./viewer.js";
import { Worklist } from "./worklist.js";

const $ = (id) => document.getElementById(id);
const KEPT_PICTURES = 4;
const SLOW = 200; // milliseconds until a picture that has not come takes the one before away
const SWITCHES = ["invert", "wipe", "contour"]; // buttons and settings of the viewer

let room;
let worklist;
let viewer;
let shown = null; // the case in the viewer; a dropped file has no `number`
let dirty = false; // the note was changed and is not saved
const kept = new Map(); // pictures of the last cases by number
const training = new Training({ state: $("training-state"), bar: $("training-bar"), charts: $("charts") }, say);

// Messages

let silence = 0;
function say(error) {
  $("message").textContent = error.message;
  $("message").hidden = false;
  clearTimeout(silence);
  silence = setTimeout(() => ($("message").hidden = true), 8000);
}

// Cases

function picture(number) {
  if (!kept.has(number)) {
    const coming = server.picture(number);
    coming.catch(() => kept.delete(number));
    kept.set(number, coming);
    if (kept.size > KEPT_PICTURES) kept.delete(kept.keys().next().value);
  }
  return kept.get(number);
}

async function open(found) {
  await saveNote();
  shown = found;
  $("cases").dataset.shown = "viewer";
  describe();
  if (found.score === null) {
    viewer?.clear();
    return;
  }
  const slow = setTimeout(() => shown === found && viewer.clear(), SLOW);
  try {
    const read = await (found.picture ?? picture(found.number));
    clearTimeout(slow);
    if (shown !== found) return;
    viewer.show(read);
    $("panes").dataset.shown = found.number ?? "dropped";
    const next = worklist.cases[worklist.cases.findIndex((c) => c.number === found.number) + 1];
    if (next && next.score !== null) picture(next.number).catch(() => {});
  } catch (error) {
    clearTimeout(slow);
    if (shown === found) viewer.clear();
    say(error);
  }
}

function describe() {
  const { name, answer, note, dropped } = shown;
  $("case-name").textContent = name.split("/").pop();
  $("case-name").title = name;
  describeFacts();
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.setAttribute("aria-pressed", button.dataset.answer === answer);
    button.disabled = Boolean(dropped);
  }
  $("note").value = note ?? "";
  $("note").disabled = Boolean(dropped);
  $("saved").textContent = "";
  dirty = false;
  fitNote();
}

function describeFacts() {
  const { patient, slice, score, p_value: p, error, number, dropped, unfamiliar } = shown;
  const facts = [];
  if (number !== undefined) facts.push(`case ${number + 1}`);
  if (patient) facts.push(`patient ${patient}`);
  if (slice) facts.push(slice);
  if (score !== null) facts.push(`score ${scoreText(score)}`);
  if (p !== null && p !== undefined) facts.push(`p ${pText(p)}`, worklist.flagText(p, score));
  else if (score !== null) facts.push("no threshold");
  if (error) facts.push(error);
  if (unfamiliar) facts.push("unlike all images that were learned from: the score means nothing");
  if (dropped) facts.push("dropped here, not kept");
  $("case-facts").textContent = facts.join("  ·  ");
}

// Verdicts

// One after the other: leaving the note by a click on a verdict saves twice.
let saving = Promise.resolve();

function save(answer) {
  if (!shown || shown.dropped || shown.number === undefined) return saving;
  const { number } = shown;
  const note = $("note").value;
  dirty = false;
  saving = saving.then(() => send(number, answer, note));
  return saving;
}

async function send(number, answer, note) {
  try {
    const changed = await server.putVerdict(number, answer, note);
    worklist.replace(changed);
    if (shown.number !== number) return;
    shown = { ...shown, answer: changed.answer, note: changed.note };
    for (const button of document.querySelectorAll("[data-answer]")) {
      button.setAttribute("aria-pressed", button.dataset.answer === changed.answer);
    }
    $("saved").textContent = "saved";
  } catch (error) {
    if (shown.number === number) {
      dirty = true;
      $("saved").textContent = "not saved";
    }
    say(error);
  }
}

const saveNote = async () => {
  if (dirty) await save(shown.answer);
};

function fitNote() {
  const note = $("note");
  note.style.height = "auto";
  note.style.height = `${Math.min(note.scrollHeight + 2, 120)}px`;
}

// Dropped files

async function score(files) {
  for (const file of files) {
    try {
      if (file.size > room.upload_bytes) throw new Error(`too large: at most ${room.upload_bytes / 2 ** 20} MiB`);
      await saveNote();
      $("case-facts").textContent = "scoring…";
      const picture = await server.upload(file, room.suffixes);
      const { score: value, p_value, unfamiliar } = picture;
      const found = { score: value, p_value, unfamiliar, picture, name: file.name };
      showView("cases");
      worklist.drop({ ...found, patient: "", slice: "", error: "", answer: null, note: "", dropped: true });
    } catch (error) {
      if (shown) describe();
      else $("case-facts").textContent = "";
      say(error);
    }
  }
}

// Views

function showView(name) {
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-pressed", button.dataset.view === name);
    $(button.dataset.view).hidden = button.dataset.view !== name;
  }
  document.body.dataset.view = name;
  if (name === "training") training.start();
  else training.stop();
}

async function writeReport() {
  $("write-report").disabled = true;
  $("report-state").textContent = "Writing…";
  try {
    await server.writeReport();
    $("report-state").textContent = "Written.";
  } catch (error) {
    $("report-state").textContent = error.message;
  }
  $("write-report").disabled = false;
}

// The viewer's controls show what the viewer has, however it came there.

function showSettings() {
  const { pictures } = room;
  $("blend").value = 100 * viewer.blend;
  $("opacity").value = 100 * viewer.opacity;
  $("threshold").value = 100 * viewer.threshold;
  $("blend-value").textContent = percent(viewer.blend);
  $("opacity-value").textContent = percent(viewer.opacity);
  $("threshold-value").textContent = (viewer.threshold * pictures.map_scale).toPrecision(2);
  for (const name of SWITCHES) $(name).setAttribute("aria-pressed", viewer[name]);
  $("tool-window").setAttribute("aria-pressed", viewer.tool === "window");
  $("tool-pan").setAttribute("aria-pressed", viewer.tool === "pan");
  for (const button of $("layouts").children) {
    button.setAttribute("aria-pressed", button.dataset.layout === viewer.layout);
  }
  $("panes").dataset.window = viewer.status;
}

function change(name, by, from = viewer[name]) {
  viewer.set(name, Math.min(Math.max(Math.round(100 * (from + by)) / 100, 0), 1));
}

function bindViewer() {
  const { pictures } = room;
  document.body.classList.toggle("no-twin", !pictures.twin);
  document.body.classList.toggle("no-map", !pictures.map);
  document.body.classList.toggle("no-contour", !room.contour);
  viewer = new Viewer($("panes"), room, showSettings);
  const layouts = [["all", "All"], ...viewer.panes.map((pane) => [pane.kind, pane.canvas.ariaLabel])];
  $("layouts").replaceChildren(
    ...(layouts.length > 2 ? layouts : []).map(([layout, label]) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.layout = layout;
      button.textContent = label;
      button.addEventListener("click", () => viewer.arrange(layout));
      return button;
    }),
  );
  for (const name of ["blend", "opacity", "threshold"]) {
    $(name).addEventListener("input", () => viewer.set(name, Number($(name).value) / 100));
  }
  for (const name of SWITCHES) {
    $(name).addEventListener("click", () => viewer.set(name, !viewer[name]));
  }
  $("tool-window").addEventListener("click", () => viewer.set("tool", "window"));
  $("tool-pan").addEventListener("click", () => viewer.set("tool", "pan"));
  $("reset").addEventListener("click", () => viewer.reset());
  $("pixels").addEventListener("click", () => viewer.zoomToPixels());
  $("zoom-in").addEventListener("click", () => viewer.zoomBy(1.25));
  $("zoom-out").addEventListener("click", () => viewer.zoomBy(0.8));
  viewer.arrange(matchMedia("(max-width: 760px)").matches ? "input" : "all");
}

function backToList() {
  $("cases").dataset.shown = "list";
  $("list").focus();
}

function actions() {
  const pane = (k) => () => viewer?.panes[k] && viewer.arrange(viewer.panes[k].kind);
  const if_ = (needed, action) => () => viewer && needed() && action();
  const twin = () => room.pictures.twin;
  const map = () => room.pictures.map;
  const always = () => true;
  const v = (action) => if_(always, action);
  return {
    next: () => worklist.step(1),
    previous: () => worklist.step(-1),
    later: () => worklist.turn(1),
    earlier: () => worklist.turn(-1),
    search: () => {
      $("cases").dataset.shown = "list";
      $("search").focus();
    },
    filter: () => {
      const { options, selectedIndex } = $("show");
      $("show").selectedIndex = (selectedIndex + 1) % options.length;
      worklist.load(0);
    },
    stricter: () => worklist.movePoint(-1),
    looser: () => worklist.movePoint(1),
    back: backToList,
    normal: () => save("normal"),
    unsure: () => save("unsure"),
    abnormal: () => save("abnormal"),
    none: () => save(null),
    note: () => $("note").focus(),
    first: pane(0),
    second: pane(1),
    third: pane(2),
    all: v(() => viewer.arrange("all")),
    zoomIn: v(() => viewer.zoomBy(1.25)),
    zoomOut: v(() => viewer.zoomBy(0.8)),
    panLeft: v(() => viewer.pan(-0.05 / viewer.view.zoom, 0)),
    panRight: v(() => viewer.pan(0.05 / viewer.view.zoom, 0)),
    panUp: v(() => viewer.pan(0, -0.05 / viewer.view.zoom)),
    panDown: v(() => viewer.pan(0, 0.05 / viewer.view.zoom)),
    narrower: v(() => viewer.moveWindow(-0.05, 0)),
    wider: v(() => viewer.moveWindow(0.05, 0)),
    lower: v(() => viewer.moveWindow(0, -0.05)),
    higher: v(() => viewer.moveWindow(0, 0.05)),
    reset: v(() => viewer.reset()),
    invert: v(() => viewer.set("invert", !viewer.invert)),
    pixels: v(() => viewer.zoomToPixels()),
    tool: v(() => viewer.set("tool", viewer.tool === "pan" ? "window" : "pan")),
    twin: if_(twin, () => viewer.set("blend", viewer.blend < 0.5 ? 1 : 0)),
    blendMore: if_(twin, () => change("blend", 0.1)),
    blendLess: if_(twin, () => change("blend", -0.1)),
    wipe: if_(twin, () => viewer.set("wipe", !viewer.wipe)),
    opacityMore: if_(map, () => change("opacity", 0.1)),
    opacityLess: if_(map, () => change("opacity", -0.1)),
    thresholdMore: if_(map, () => change("threshold", 0.05)),
    thresholdLess: if_(map, () => change("threshold", -0.05)),
    contour: if_(() => room.contour, () => viewer.set("contour", !viewer.contour)),
    file: () => $("file").click(),
    training: () => showView(document.body.dataset.view === "training" ? "cases" : "training"),
    report: () => $("report").showModal(),
    help: () => $("help").showModal(),
  };
}

function bind() {
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => showView(button.dataset.view));
  }
  $("open-help").addEventListener("click", () => $("help").showModal());
  $("open-report").addEventListener("click", () => $("report").showModal());
  $("write-report").addEventListener("click", writeReport);
  $("back").addEventListener("click", backToList);
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.addEventListener("click", () => {
      save(button.getAttribute("aria-pressed") === "true" ? null : button.dataset.answer);
    });
  }
  $("note").addEventListener("input", () => {
    dirty = true;
    $("saved").textContent = "";
    fitNote();
  });
  $("note").addEventListener("blur", saveNote);
  $("reading").addEventListener("submit", (event) => event.preventDefault());
  $("pick-file").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    score([...$("file").files]);
    $("file").value = "";
  });
  let depth = 0;
  const over = (by) => {
    depth = Math.max(depth + by, 0);
    $("drop").hidden = depth === 0;
  };
  addEventListener("dragenter", (event) => {
    event.preventDefault();
    over(1);
  });
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(-depth);
    score([...event.dataTransfer.files]);
  });
  addEventListener("pagehide", saveNote);
  explain($("keys"));
  listen(actions());
}

async function start() {
  room = await server.room();
  document.title = `${room.run} · reading room`;
  $("title").textContent = room.note ? `${room.run} · ${room.method}, ${room.note}` : `${room.run} · ${room.method}`;
  const warnings = room.doubts.length ? [`This model is doubtful: ${room.doubts.join("; ")}.`] : [];
  if (room.outliers) warnings.push(`Note: ${room.outliers}.`);
  $("doubts").textContent = warnings.join(" ");
  $("doubts").hidden = !warnings.length;
  $("file").accept = room.suffixes.join(",");
  $("pick-file").disabled = !room.pictures;
  worklist = new Worklist(
    {
      point: $("point"), noPoint: $("no-point"), slider: $("point-slider"), rate: $("point-rate"),
      text: $("point-text"), search: $("search"), show: $("show"), sort: $("sort"), list: $("list"),
      range: $("range"), earlier: $("earlier"), later: $("later"),
    },
    room, open, say,
  );
  if (room.pictures) bindViewer();
  $("point-slider").addEventListener("input", () => shown && describeFacts());
  bind();
  showView(room.pictures ? "cases" : "training");
  await worklist.load(0);
  if (room.pictures && !matchMedia("(max-width: 760px)").matches) worklist.choose(0);
  document.body.dataset.ready = "true";
}

// Entry

let locked = false;
server.whenLocked(() => {
  if (!$("login").open) $("login").showModal();
  locked = true;
});
$("login").addEventListener("cancel", (event) => event.preventDefault());
$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await server.login($("token").value);
    location.reload();
  } catch (error) {
    $("login-state").textContent = error.message;
  }
});

start().catch((error) => {
  if (!locked) say(error);
});
