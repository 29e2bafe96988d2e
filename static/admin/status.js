/** The status page: signs the operator in, follows the stream of reports, and says how the line is. */

import { say, show } from "../widget/dom.js";
import { ReportStream } from "./report_stream.js";
import { ReportView } from "./report_view.js";

const SESSION = new URL("session", location.href);
const EVENTS = new URL("status/events", location.href);

/** A page that nobody looks at for so long gives up its stream, and comes back when it is looked at. */
const HIDDEN_MS = 60_000;

const byId = (id) => document.getElementById(id);
const view = new ReportView();
const otherTabs = new BroadcastChannel("streamer-admin");

let told = null; // when the last report came

const stream = new ReportStream(EVENTS, {
  onReport(report) {
    told = new Date();
    view.draw(report);
    enter("live", "Live");
  },
  onTrouble(why) {
    const since = told ? ` The figures are of ${told.toLocaleTimeString("en", { hour12: false })}.` : "";
    enter(told ? "reconnecting" : "connecting", `${why ?? "No connection."} Reconnecting…${since}`);
  },
  onRefused(status, message) {
    leave(told || status === 403 ? message : null);
  },
});

/** What the page shows: connecting, signed-out, live or reconnecting; and what it says of the line. */
function enter(state, words) {
  document.body.dataset.state = state;
  say(byId("line"), words);
  show(byId("figures"), told !== null);
  show(byId("sign-in"), state === "signed-out");
  show(byId("sign-out"), state !== "signed-out" && told !== null);
}

function connect() {
  enter(told ? "reconnecting" : "connecting", "Connecting…");
  stream.open();
}

/** To the form, with why. */
function leave(why) {
  stream.close();
  told = null;
  view.clear();
  enter("signed-out", "Signed out");
  refuse(why);
  byId("key").focus();
}

function refuse(why) {
  say(byId("refusal"), why ?? "");
  show(byId("refusal"), Boolean(why));
}

async function signIn(event) {
  event.preventDefault();
  const key = byId("key").value.trim();
  refuse(null);
  byId("enter").disabled = true;
  try {
    const why = await exchange(key);
    if (why) {
      refuse(why);
      return;
    }
    byId("key").value = "";
    connect();
  } catch {
    refuse("The server could not be reached. Try again.");
  } finally {
    byId("enter").disabled = false;
  }
}

/** Changes the key for the cookie; why not, where it is refused. */
async function exchange(key) {
  if (!/^[!-~]+$/.test(key)) return "This is no API key.";
  const response = await fetch(SESSION, { method: "POST", credentials: "same-origin", headers: { Authorization: `Bearer ${key}` } });
  if (response.ok) return null;
  const body = await response.json().catch(() => ({}));
  return response.status === 401 ? "This key is not one of this installation, or it is revoked or expired." : (body.message ?? `The server answered with status ${response.status}.`);
}

async function signOut() {
  byId("sign-out").disabled = true;
  try {
    await fetch(SESSION, { method: "DELETE", credentials: "same-origin" });
    otherTabs.postMessage("signed-out");
    leave(null);
  } catch {
    say(byId("line"), "The server could not be reached: you are still signed in.");
  } finally {
    byId("sign-out").disabled = false;
  }
}

let hiding = 0;

document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.visibilityState === "hidden") hiding = setTimeout(() => stream.close(), HIDDEN_MS);
  else if (!stream.isOpen && document.body.dataset.state !== "signed-out") connect();
});
otherTabs.addEventListener("message", () => leave(null));
byId("sign-in").addEventListener("submit", signIn);
byId("sign-out").addEventListener("click", signOut);
connect();
