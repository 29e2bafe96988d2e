/** The whole of what is seen in the element: the log, the composer, the line that says what is going on. */

import { REFUSED } from "./chat.js";
import { ICONS, element, icon, say, show } from "./dom.js";
import { TurnView, pendingWords, refusalWords } from "./turn_view.js";

/** Pixels from the bottom within which the log follows what is written. */
const STICKY = 40;

export class View {
  #words;
  #actions;
  #turns = []; // TurnViews, in the order of the chat's turns
  #chat = null;
  #frame = 0;
  #tick = null;
  #follows = true;

  /** `actions`: send(text) → accepted, stop(), retry(turn), reset() → done. */
  constructor(root, words, actions) {
    this.#words = words;
    this.#actions = actions;
    this.#build(root);
  }

  setSuggestions(texts) {
    this.suggestions.replaceChildren(
      ...texts.map((text) => element("li", {}, element("button", { type: "button", className: "suggestion", onclick: () => this.#send(text) }, text))),
    );
  }

  setGreeting(text) {
    say(this.greeting, text);
  }

  focus() {
    this.input.focus();
  }

  /** Shows `chat` with the next frame; many changes in one frame are one rendering. */
  render(chat) {
    this.#chat = chat;
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #build(root) {
    const words = this.#words;
    this.greeting = element("p", { className: "greeting" }, words.greeting);
    this.suggestions = element("ul", { className: "suggestions" });
    this.empty = element("div", { className: "empty" }, this.greeting, this.suggestions);
    this.turns = element("div", { className: "turns" });
    this.log = element("div", { className: "log", role: "log", tabIndex: 0, "aria-label": words.logLabel, onscroll: () => this.#noteScroll() }, this.empty, this.turns);
    new ResizeObserver(() => this.#follows && this.#toBottom()).observe(this.log);
    this.latest = element("button", { type: "button", className: "latest", hidden: true, "aria-label": words.latest, title: words.latest, onclick: () => this.#jump() }, icon(ICONS.down));

    this.input = element("textarea", { rows: 1, id: "message", placeholder: words.placeholder, autocomplete: "off", enterKeyHint: "send" });
    this.input.addEventListener("keydown", (event) => this.#keyed(event));
    this.input.addEventListener("input", () => this.#typed());
    this.send = element("button", { type: "submit", className: "round", "aria-label": words.send, title: words.send, disabled: true }, icon(ICONS.send));
    this.stop = element("button", { type: "button", className: "round stop", hidden: true, "aria-label": words.stop, title: words.stop, onclick: () => this.#actions.stop() }, icon(ICONS.stop));
    this.form = element(
      "form",
      { className: "composer" },
      element("label", { className: "unseen", htmlFor: "message" }, words.messageLabel),
      this.input,
      this.send,
      this.stop,
    );
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send(this.input.value);
    });

    this.dot = element("span", { className: "dot", "aria-hidden": "true" });
    this.status = element("span", { className: "status-text", role: "status", "aria-live": "polite" });
    this.hint = element("span", { className: "hint" }, words.hint);
    this.fresh = element("button", { type: "button", className: "quiet", hidden: true, onclick: () => this.#startOver() }, icon(ICONS.plus), words.newChat);
    const line = element("div", { className: "line" }, this.dot, this.status, this.hint, this.fresh);

    root.append(element("div", { className: "chat" }, element("div", { className: "stage" }, this.log, this.latest), element("div", { className: "dock" }, this.form, line)));
  }

  #draw() {
    const { turns, running } = this.#chat;
    while (this.#turns.length > turns.length) this.#turns.pop().node.remove();
    let ticks = false;
    turns.forEach((turn, at) => {
      const last = at === turns.length - 1;
      const view = (this.#turns[at] ??= this.#newTurn());
      if (last || view.turn !== turn) ticks = view.update(turn) || ticks;
      else if (!view.problem.hidden && !view.retry.hidden) show(view.retry, false); // only the last can be tried again
    });
    show(this.empty, turns.length === 0);
    this.#drawDock(turns.at(-1) ?? null, running);
    if (this.#follows) this.#toBottom();
    clearTimeout(this.#tick);
    if (ticks) this.#tick = setTimeout(() => this.render(this.#chat), 500);
  }

  #newTurn() {
    const view = new TurnView(this.#words, (turn) => this.#actions.retry(turn));
    this.turns.append(view.node);
    return view;
  }

  #drawDock(last, running) {
    const focused = this.form.getRootNode().activeElement;
    if (focused === this.stop && !running) this.input.focus();
    show(this.send, !running);
    show(this.stop, Boolean(running));
    this.stop.setAttribute("aria-disabled", String(Boolean(running?.stopping))); // not `disabled`, which drops the focus
    this.#noteInput();
    show(this.fresh, Boolean(last) && !running);
    const { kind, text, seen } = this.#situation(last, running);
    if (this.dot.dataset.kind !== kind) this.dot.dataset.kind = kind;
    say(this.status, text);
    this.status.classList.toggle("unseen", !seen);
    show(this.dot, seen);
    show(this.hint, !seen);
  }

  /** The one line about what is going on. What the log shows already is not `seen`, only said to those who listen. */
  #situation(last, running) {
    const words = this.#words;
    if (!last) return { kind: "idle", text: "", seen: false };
    if (!running) return { kind: "idle", text: endWords(last, words), seen: false };
    if (running.stopError) return { kind: "bad", text: words.stopFailed(running.stopError), seen: true };
    const { link } = this.#chat;
    if (link === "offline") return { kind: "bad", text: words.offline, seen: true };
    if (link === "reconnecting") return { kind: "bad", text: words.reconnecting, seen: true };
    if (running.generation.text === "") return { kind: "busy", text: pendingWords(running, words), seen: false };
    if (running.stopping) return { kind: "busy", text: words.stopping, seen: true };
    if (running.generation.repaired) return { kind: "busy", text: words.checking, seen: true };
    return { kind: "live", text: link === "polling" ? words.polling : words.answering, seen: true };
  }

  // Typing

  #keyed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#send(this.input.value);
  }

  #typed() {
    this.#noteInput();
    if (CSS.supports("field-sizing", "content")) return;
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight}px`;
  }

  #noteInput() {
    this.send.disabled = this.input.value.trim() === "";
  }

  #send(text) {
    this.#follows = true;
    if (!this.#actions.send(text)) return;
    if (this.input.value === text) this.input.value = "";
    this.#typed();
    this.input.focus();
  }

  #startOver() {
    if (!this.#actions.reset()) return;
    this.#follows = true;
    this.input.focus();
  }

  // Scrolling

  #noteScroll() {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    this.#follows = scrollHeight - scrollTop - clientHeight <= STICKY;
    show(this.latest, !this.#follows);
  }

  #jump() {
    this.#follows = true;
    this.#toBottom();
    this.log.focus();
  }

  #toBottom() {
    this.log.scrollTop = this.log.scrollHeight;
    show(this.latest, false);
  }
}

function endWords(turn, words) {
  if (turn.phase === REFUSED) return `${refusalWords(turn.refusal, words)}.`;
  const { status } = turn.generation;
  if (status === "cancelled") return words.stopped;
  if (status === "error") return words.failed;
  return words.finished;
}
