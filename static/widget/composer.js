/** Where a message is written, and the line below it that says what is going on. */

import { ICONS, element, icon, say, show } from "./dom.js";
import { duration, secondsUntil } from "./problem_view.js";
import { growing, isSending } from "./typing.js";

/** Part of the allowance below which the rest of it is said. */
const LOW = 1 / 6;

export class Composer {
  #words;
  #onSend;
  #opening = false;

  /** `onSend(text)`, `onStop()`, `onFresh()`: a new conversation is asked for. */
  constructor(words, { onSend, onStop, onFresh }) {
    this.#words = words;
    this.#onSend = onSend;
    this.input = growing(element("textarea", { rows: 1, id: "message", placeholder: words.placeholder, autocomplete: "off", enterKeyHint: "send" }));
    this.input.addEventListener("keydown", (event) => this.#keyed(event));
    this.input.addEventListener("input", () => this.#noteInput());
    this.send = element("button", { type: "submit", className: "round", "aria-label": words.send, title: words.send, disabled: true }, icon(ICONS.send));
    this.stop = element("button", { type: "button", className: "round stop", hidden: true, "aria-label": words.stop, title: words.stop, onclick: onStop }, icon(ICONS.stop));
    const label = element("label", { className: "unseen", htmlFor: "message" }, words.messageLabel);
    this.form = element("form", { className: "composer" }, label, this.input, this.send, this.stop);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#onSend(this.input.value);
    });

    this.dot = element("span", { className: "dot", "aria-hidden": "true" });
    this.status = element("span", { className: "status-text", role: "status", "aria-live": "polite" });
    this.hint = element("span", { className: "hint" }, words.hint);
    this.rest = element("span", { className: "rest", hidden: true });
    this.fresh = element("button", { type: "button", className: "quiet fresh", hidden: true, onclick: onFresh }, icon(ICONS.plus), words.newChat);
    const line = element("div", { className: "line" }, this.dot, this.status, this.hint, this.rest, this.fresh);
    this.node = element("div", { className: "dock" }, this.form, line);
  }

  get text() {
    return this.input.value;
  }

  set text(text) {
    this.input.value = text;
    this.input.dispatchEvent(new Event("input"));
  }

  /** `opening`: what is written can't be sent yet. `situation`: {kind, text, seen}; `canReset`: whether a new conversation can be asked for here. */
  update({ running, opening, situation: { kind, text, seen }, canReset }) {
    this.#opening = Boolean(opening);
    const focused = this.form.getRootNode().activeElement;
    if (focused === this.stop && !running) this.input.focus();
    show(this.send, !running);
    show(this.stop, Boolean(running));
    this.stop.setAttribute("aria-disabled", String(Boolean(running?.stopping))); // not `disabled`, which drops the focus
    this.#noteInput();
    show(this.fresh, canReset);
    if (this.dot.dataset.kind !== kind) this.dot.dataset.kind = kind;
    say(this.status, text);
    this.status.classList.toggle("unseen", !seen);
    show(this.dot, seen);
    show(this.hint, !seen && this.rest.hidden);
  }

  /** Says how many messages are left, where they are few; returns whether it changes by itself with time. */
  updateRest(allowance) {
    const seconds = secondsUntil(allowance?.resetAt);
    const low = seconds > 0 && allowance.remaining <= allowance.limit * LOW;
    show(this.rest, low);
    say(this.rest, low ? this.#words.rest(allowance.remaining, duration(seconds)) : "");
    return low;
  }

  #keyed(event) {
    if (!isSending(event)) return;
    event.preventDefault();
    this.#onSend(this.input.value);
  }

  #noteInput() {
    this.send.disabled = this.#opening || this.input.value.trim() === "";
  }
}
