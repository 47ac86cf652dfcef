// Requests to the server; every failure is an Error with the server's one line.

let onLocked = () => {};

export function whenLocked(action) {
  onLocked = action;
}

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) onLocked();
  let text = `the server answered ${answer.status}`;
  try {
    text = (await answer.json()).error ?? text;
  } catch {
    // not JSON
  }
  throw new Error(text);
}

function asJson(body) {
  return { body: JSON.stringify(body), headers: { "content-type": "application/json" } };
}

export const login = (token) => ask("api/login", { method: "POST", ...asJson({ token }) });
export const room = async () => (await ask("api/room")).json();
export const training = async () => (await ask("api/training")).json();
export const writeReport = () => ask("api/report", { method: "POST" });

export async function cases(query, signal) {
  return (await ask(`api/cases?${new URLSearchParams(query)}`, { signal })).json();
}

export async function oneCase(number, rate) {
  return (await ask(`api/cases/${number}?rate=${rate}`)).json();
}

/** The film of a case and what the method made of it, see `unpacked`. */
export async function picture(number) {
  return unpacked(await (await ask(`api/cases/${number}/picture`)).arrayBuffer());
}

// The length of a text, the text, planes, and the levels of the film; see films.py.
function unpacked(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const { film, ...about } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const [height, width, channels = 1] = film.levels_shape;
  const end = buffer.byteLength - height * width * channels * film.bytes;
  const planes = new Uint16Array(buffer, 4 + length, (end - 4 - length) / 2);
  const levels = film.bytes === 1 ? new Uint8Array(buffer, end) : new Uint16Array(buffer, end);
  return { ...about, planes, film: { ...film, height, width, channels, levels } };
}

export async function putVerdict(number, answer, note) {
  const options = { method: "PUT", ...asJson({ answer, note }) };
  return (await ask(`api/cases/${number}/verdict`, options)).json();
}

// Only the suffix leaves the browser, not the file's name.
export async function upload(file, suffixes) {
  const name = file.name.toLowerCase();
  const suffix = suffixes.filter((s) => name.endsWith(s)).sort((a, b) => b.length - a.length)[0];
  if (!suffix) throw new Error(`no image; one of ${suffixes.join(", ")}; "a2bgan predict" scores volumes`);
  const options = { method: "POST", body: file, headers: { "content-type": "application/octet-stream" } };
  const answer = await ask(`api/uploads?suffix=${encodeURIComponent(suffix)}`, options);
  return unpacked(await answer.arrayBuffer());
}
