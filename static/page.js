/** The demo page: signs the visitor in with what the printed address carries, and shows what happens underneath. */

import { exchangeGrant } from "./widget/api.js";
import { copy, element, say } from "./widget/dom.js";
import { TokenSource } from "./widget/token_source.js";

const BASE = new URL("../", import.meta.url);
const HOW_TO_SIGN_IN = "Open the address that “streamer link” prints.";
const GRANT = "grant";

const byId = (id) => document.getElementById(id);
const chat = byId("chat");

// Signing in

/** The grant of this tab: from the address (a reload has it still), else what an earlier load of the tab kept. */
function grant() {
  const given = new URLSearchParams(location.hash.slice(1)).get(GRANT);
  if (given) sessionStorage.setItem(GRANT, given);
  return given ?? sessionStorage.getItem(GRANT);
}

let tokens = newTokens();

function newTokens() {
  return new TokenSource(async () => {
    const held = grant();
    if (!held) throw Object.assign(new Error("This page does not know you yet."), { status: 401, code: "unauthorized", retryable: false });
    return exchangeGrant(BASE, held);
  });
}

async function signIn() {
  tokens = newTokens();
  try {
    await tokens.get();
    byId("banner").hidden = true;
    chat.refresh?.();
  } catch (error) {
    const needsAddress = error.status >= 400 && error.status < 500;
    const banner = byId("banner");
    banner.replaceChildren(error.message, " ", ...(needsAddress ? ["Open the address that ", element("code", {}, "streamer link"), " prints."] : []));
    banner.hidden = false;
  }
}

chat.getToken = (wish) => tokens.get(wish);
chat.words = { accessHelp: HOW_TO_SIGN_IN };
chat.suggestions = ["What happens when I press Send?", "What if I reload the page while you answer?", "Who gets to see the provider's key?"];
addEventListener("hashchange", signIn);
signIn();

// What happens underneath

const STEPS = ["browser", "queue", "worker", "redis", "you"];

/** Where the token is: the step at work, and what the line does. */
function whereabouts({ phase, text, settled }) {
  if (phase === "refused") return { step: "browser", at: "idle" };
  if (settled) return { step: "you", at: "ended" };
  if (phase === "sending") return { step: "browser", at: "waiting" };
  if (phase === "queued") return { step: "queue", at: "waiting" };
  return text ? { step: "you", at: "streaming" } : { step: "worker", at: "waiting" };
}

let shown = null;
let frame = 0;

function draw() {
  frame = 0;
  const { step, at } = shown ? whereabouts(shown) : { step: null, at: "idle" };
  const way = byId("way");
  if (way.dataset.at !== at) way.dataset.at = at;
  const reached = STEPS.indexOf(step);
  for (const [index, stop] of [...way.children].entries()) {
    stop.classList.toggle("passed", reached > index || at === "ended");
    stop.classList.toggle("active", reached === index && at !== "ended" && at !== "idle");
  }
  drawFigures();
  byId("trace").hidden = !shown?.self;
  say(byId("generation-id"), shown?.id ?? "");
  say(byId("curl"), shown?.self ? curl(shown.self, "$TOKEN") : "");
}

function drawFigures() {
  const first = shown?.firstTextMs == null ? "–" : duration(shown.firstTextMs);
  const tokens = !shown?.text && !shown?.usage ? "–" : shown.usage ? String(shown.usage.output) : `≈ ${Math.ceil(shown.text.length / 4)}`;
  const proven = shown?.settled && shown.verified;
  say(byId("first"), first);
  say(byId("total"), shown?.elapsedMs == null ? "–" : duration(shown.elapsedMs));
  say(byId("tokens"), tokens);
  say(byId("events"), shown?.events ? String(shown.events) : "–"); // an older answer came as it is stored
  say(byId("resumes"), shown?.events ? String(shown.resumes) : "–");
  say(byId("verified"), proven ? "✓ SHA-256" : shown?.settled && shown.id ? "not compared" : "–");
  byId("verified").classList.toggle("good", Boolean(proven));
  say(byId("brief"), shown?.id ? [first, `${tokens} tokens`, ...(shown.resumes ? [`${shown.resumes} resumed`] : [])].join(" · ") : "the way of a token");
}

const duration = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`);

const curl = (self, token) => `curl -H "Authorization: Bearer ${token}" "${self}?wait=25"`;

for (const name of ["start", "delta", "end", "change"]) {
  chat.addEventListener(`ai-chat-${name}`, ({ detail }) => {
    shown = detail;
    frame ||= requestAnimationFrame(draw);
  });
}

const COPIED = "Copied";

document.addEventListener("click", async ({ target }) => {
  const what = target.dataset?.copies;
  if (!what) return;
  const text = what === "id" ? shown.id : curl(shown.self, await tokens.get().catch(() => "$TOKEN"));
  const label = target.textContent;
  if (label === COPIED) return;
  say(target, (await copy(text)) ? COPIED : "Select it instead");
  setTimeout(() => say(target, label), 1500);
});

// A tab that is opened by this one begins with a copy of what this one keeps: the conversation, and the answer under way.
byId("second-tab").addEventListener("click", () => open(location.href, "_blank"));

const wide = matchMedia("(min-width: 901px)");
const unfold = () => (byId("inside").open = wide.matches);
wide.addEventListener("change", unfold);
unfold();
draw();

await import("./widget.js"); // last: what it picks up after a reload finds all of the above
