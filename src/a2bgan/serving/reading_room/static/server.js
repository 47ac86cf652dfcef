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

export async function pixels(number) {
  return new Uint16Array(await (await ask(`api/cases/${number}/pixels`)).arrayBuffer());
}

export const contours = async (number) => (await ask(`api/cases/${number}/contours`)).json();

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
  const found = await (await ask(`api/uploads?suffix=${encodeURIComponent(suffix)}`, options)).json();
  const bytes = Uint8Array.from(atob(found.planes), (character) => character.charCodeAt(0));
  return { ...found, planes: new Uint16Array(bytes.buffer) };
}
