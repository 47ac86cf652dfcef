// Every key, what it does, and the page of help made of the same table.

/** Rows of [keys, what they do, action name]; null separates groups. */
export const KEYS = [
  ["Worklist"],
  ["j ↓", "next case", "next", ["j", "ArrowDown"]],
  ["k ↑", "case before", "previous", ["k", "ArrowUp"]],
  ["PageDown", "later page", "later", ["PageDown"]],
  ["PageUp", "earlier page", "earlier", ["PageUp"]],
  ["/", "search", "search", ["/"]],
  ["f", "next filter", "filter", ["f"]],
  [", .", "threshold stricter, looser", "stricter looser", [",", "."]],
  ["c", "back to the worklist", "back", ["c"]],
  ["Verdict"],
  ["n", "normal", "normal", ["n"]],
  ["u", "unsure", "unsure", ["u"]],
  ["a", "abnormal", "abnormal", ["a"]],
  ["x", "take back", "none", ["x"]],
  ["e", "note (Esc leaves it)", "note", ["e"]],
  ["Picture"],
  ["1 2 3", "one pane", "first second third", ["1", "2", "3"]],
  ["0", "all panes", "all", ["0"]],
  ["+ −", "zoom", "zoomIn zoomOut", ["+", "-"], ["="]],
  ["H J K L", "pan", "panLeft panDown panUp panRight", ["H", "J", "K", "L"]],
  ["[ ]", "window narrower, wider", "narrower wider", ["[", "]"]],
  ["{ }", "level lower, higher", "lower higher", ["{", "}"]],
  ["z", "a pixel of the image on a pixel of the screen", "pixels", ["z"]],
  ["r", "reset window and zoom", "reset", ["r"]],
  ["i", "invert", "invert", ["i"]],
  ["p", "drag pans or windows", "tool", ["p"]],
  ["Twin, anomaly map and contour"],
  ["t", "input or twin", "twin", ["t"]],
  ["b B", "more, less of the twin", "blendMore blendLess", ["b", "B"]],
  ["w", "wipe: input left, twin right of the pointer", "wipe", ["w"]],
  ["d D", "more, less of the anomaly map", "opacityMore opacityLess", ["d", "D"]],
  ["m M", "anomaly map from higher, lower values", "thresholdMore thresholdLess", ["m", "M"]],
  ["l", "contour lines", "contour", ["l"]],
  ["Elsewhere"],
  ["o", "score a file", "file", ["o"]],
  ["g", "cases or training", "training", ["g"]],
  ["v", "report", "report", ["v"]],
  ["?", "these keys", "help", ["?"]],
];

const ACTIONS = new Map();
for (const [, , names, keys, also = []] of KEYS) {
  if (!names) continue;
  names.split(" ").forEach((name, k) => {
    if (names.includes(" ")) ACTIONS.set(keys[k], name);
    else for (const key of keys) ACTIONS.set(key, name);
  });
  for (const key of also) ACTIONS.set(key, names.split(" ")[0]);
}

/** Call the action of a key, unless somebody writes or a dialog is open. */
export function listen(actions) {
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    const writes = target.matches("textarea, select, input:not([type=range])");
    if (writes && event.key === "Escape") target.blur();
    if (writes || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (target.matches("input[type=range]") && /^(Arrow|Page)/.test(event.key)) return;
    const action = actions[ACTIONS.get(event.key)];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** Fill an element with the table of keys. */
export function explain(root) {
  let list;
  for (const [keys, meaning] of KEYS) {
    if (meaning === undefined) {
      const section = document.createElement("section");
      const heading = document.createElement("h3");
      heading.textContent = keys;
      list = document.createElement("dl");
      section.append(heading, list);
      root.append(section);
      continue;
    }
    const term = document.createElement("dt");
    for (const key of keys.split(" ")) {
      const shown = document.createElement("kbd");
      shown.textContent = key;
      term.append(shown);
    }
    const text = document.createElement("dd");
    text.textContent = meaning;
    list.append(term, text);
  }
}
