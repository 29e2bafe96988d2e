/** Why a message was not taken or an answer failed, when it can be tried again, and the button for it. */

import { ICONS, element, icon, say, show } from "./dom.js";
import { REFUSED } from "./turn.js";

export class ProblemView {
  #words;

  /** `onRetry()` is called by the button. */
  constructor(words, onRetry) {
    this.#words = words;
    this.title = element("strong", {});
    this.text = element("span", {});
    this.wait = element("span", { role: "timer" }); // not read again at each second
    this.retry = element("button", { type: "button", className: "quiet", onclick: onRetry }, icon(ICONS.retry), words.retry);
    this.code = element("code", {});
    this.node = element(
      "div",
      { className: "problem", role: "alert", hidden: true },
      element("p", {}, this.title, " ", this.text, " ", this.wait),
      element("p", { className: "problem-foot" }, this.retry, this.code),
    );
  }

  /** Shows what is wrong with `turn`, if anything is; returns whether it changes by itself with time. */
  update(turn, { isLast }) {
    const words = this.#words;
    const refused = turn.phase === REFUSED;
    const error = refused ? turn.refusal : turn.settled ? turn.generation.error : null;
    show(this.node, error !== null);
    if (error === null) return false;
    const limit = words.limits[error.limit];
    this.node.classList.toggle("limit", limit !== undefined);
    say(this.title, limit ?? `${refused ? refusalWords(error, words) : words.failed}.`);
    say(this.text, limit ? "" : error.needsAccess || error.code === "unauthorized" ? `${error.message} ${words.accessHelp}` : error.message);
    const seconds = secondsUntil(error.readyAt);
    say(this.wait, !error.readyAt || !isLast ? "" : seconds > 0 ? words.readyIn(duration(seconds)) : words.ready);
    say(this.code, limit ? "" : [error.code, error.requestId].filter(Boolean).join(" · "));
    show(this.retry, isLast && (error.retryable || error.needsAccess === true));
    this.retry.disabled = seconds > 0;
    return seconds > 0;
  }
}

export const secondsUntil = (time) => (time ? Math.max(0, Math.ceil((time - Date.now()) / 1000)) : 0);

/** `42 s`, `3 min 5 s`, `2 h 5 min`; never broken into two lines. */
export function duration(seconds) {
  const minutes = Math.floor(seconds / 60);
  const parts = minutes < 60 ? [[minutes, "min"], [seconds % 60, "s"]] : [[Math.floor(minutes / 60), "h"], [minutes % 60, "min"]];
  return parts.filter(([count]) => count > 0).flat().join("\u00a0") || "0\u00a0s";
}

/** Whether it is known that the message was not taken. */
export const refusalWords = ({ code }, words) => (["network", "timeout"].includes(code) ? words.unconfirmed : words.refused);
