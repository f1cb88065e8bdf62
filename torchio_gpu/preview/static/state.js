// State of the page, and requests.

export const $ = id => document.getElementById(id);
export const s = {steps: [], seed: 0, image: "", overlay: "", channel: 0, at: [0, 0, 0], window: [0, 1], planes: "all",
  rows: new Set(["before", "after", "difference"]), radiological: true, points: true, opacity: 0.35, tab: "", next: 1, vary: null};
export const forms = new Map(), answers = {};

// Functions of the page that other parts call: update, setSteps, setSeed, showSteps.
export const page = {};

export async function ask(path, body, signal) {
  const sent = body === undefined ? {} : {method: "POST", body: JSON.stringify(body),
    headers: {"Content-Type": "application/json"}};
  const answer = await fetch(path, {...sent, signal});
  if (answer.ok) return answer;
  const failed = await answer.json().catch(() => ({error: `the server answered ${answer.status}`}));
  throw Object.assign(new Error(failed.error || ""), failed);
}

export const wish = more => ({steps: s.steps.map(({name, on, arguments: given}) => ({name, on, arguments: given})),
  seed: s.seed, image: s.image, overlay: s.overlay, channel: s.channel, ...more});
