/** The whole of what is seen of a conversation: the log, the composer, the line that says what is going on. */

import { Composer } from "./composer.js";
import { ICONS, element, icon, iconButton, say, show } from "./dom.js";
import { refusalWords, secondsUntil } from "./problem_view.js";
import { REFUSED } from "./turn.js";
import { TurnView, pendingWords } from "./turn_view.js";

/** Pixels from the bottom within which the log follows what is written. */
const STICKY = 40;

/** Milliseconds between two drawings of what counts down, and for which a whole conversation is not read out. */
const TICK = 500;
const QUIET = 1000;

export class View {
  #words;
  #actions;
  #turns = new Map(); // turn → TurnView, of the branch that is shown
  #path = []; // the chat's turns as they stand in the log
  #changed = new Set(); // turns to be drawn again; null among them: all
  #chat = null;
  #frame = 0;
  #tick = null;
  #quiet = null;
  #follows = true;

  /**
   * `actions`: send(text) → accepted, stop(), retry(turn), regenerate(turn), edit(turn, text) → accepted, step(turn, by) → turn,
   * rate(turn, rating, comment), older() → promise, reopen(), reset() → done, allowance() → {limit, remaining, resetAt} | null,
   * canReset(): whether the line below the composer offers a new conversation.
   */
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
    this.composer.input.focus();
  }

  /** Says something gently, above the conversation; "" takes it away. `draft` goes into the composer, where nothing is written. */
  notify(text, draft = "") {
    say(this.noticeText, text);
    show(this.notice, text !== "");
    if (draft && !this.composer.text.trim()) this.composer.text = draft;
  }

  /** Shows `chat` with the next frame; many changes in one frame are one drawing. `turn`: what has changed of it; null: all. */
  render(chat, turn = null) {
    if (chat !== this.#chat) this.#follows = true;
    this.#chat = chat;
    this.#changed.add(turn);
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
    this.openingText = element("span", {});
    this.reopen = element("button", { type: "button", className: "quiet", onclick: () => this.#actions.reopen() }, icon(ICONS.retry), words.retry);
    this.opening = element("p", { className: "opening", role: "status", hidden: true }, this.openingText, this.reopen);
    this.older = element("button", { type: "button", className: "quiet older", hidden: true, onclick: () => this.#older() }, words.older);
    this.turns = element("div", { className: "turns" });
    this.log = element(
      "div",
      { className: "log", role: "log", tabIndex: 0, "aria-label": words.logLabel, onscroll: () => this.#noteScroll() },
      ...[this.empty, this.opening, this.older, this.turns],
    );
    new ResizeObserver(() => this.#follows && this.#toBottom()).observe(this.log);
    this.latest = element("button", { type: "button", className: "latest", hidden: true, "aria-label": words.latest, title: words.latest, onclick: () => this.#jump() }, icon(ICONS.down));
    this.noticeText = element("span", { role: "status" });
    this.notice = element("div", { className: "notice", hidden: true }, this.noticeText, iconButton(ICONS.close, words.close, () => this.#dismiss()));
    this.composer = new Composer(words, {
      onSend: (text) => this.#send(text),
      onStop: () => this.#actions.stop(),
      onFresh: () => this.#startOver(),
    });
    this.stage = element("div", { className: "stage" }, this.log, this.latest);
    this.node = element("div", { className: "chat" }, this.notice, this.stage, this.composer.node);
    root.append(this.node);
  }

  #draw() {
    const { turns, running, opening } = this.#chat;
    const all = this.#changed.has(null) || turns !== this.#path;
    if (turns !== this.#path) this.#place(turns);
    let ticks = false;
    for (const turn of all ? turns : this.#changed) {
      ticks = this.#turns.get(turn)?.update(turn, this.#chat.place(turn), turn === turns.at(-1)) || ticks;
    }
    this.#changed.clear();
    this.turns.classList.toggle("busy", Boolean(running));
    show(this.empty, turns.length === 0 && !opening);
    show(this.opening, Boolean(opening));
    say(this.openingText, opening ? (opening.error?.message ?? this.#words.opening) : "");
    show(this.reopen, Boolean(opening?.error));
    show(this.older, this.#chat.hasOlder);
    const last = turns.at(-1) ?? null;
    if (this.composer.updateRest(last?.refusal?.limit ? null : this.#actions.allowance())) ticks = true; // the log says it already
    this.composer.update({ running, opening, situation: this.#situation(last, running), canReset: last !== null && this.#actions.canReset() });
    if (this.#follows) this.#toBottom();
    clearTimeout(this.#tick);
    if (ticks) this.#tick = setTimeout(() => this.render(this.#chat, last), TICK);
  }

  /** Puts the turns of the branch into the log; those that stay are not touched. */
  #place(turns) {
    if (turns.length > this.#path.length + 1) this.#hush();
    for (const [turn, view] of this.#turns) {
      if (turns.includes(turn)) continue;
      view.node.remove();
      this.#turns.delete(turn);
    }
    turns.forEach((turn, at) => {
      let view = this.#turns.get(turn);
      if (!view) this.#turns.set(turn, (view = new TurnView(turn, this.#words, this.#turnActions)));
      if (this.turns.children[at] !== view.node) this.turns.insertBefore(view.node, this.turns.children[at] ?? null);
    });
    this.#path = turns;
  }

  /** A whole conversation that appears is not read out. */
  #hush() {
    this.log.setAttribute("aria-live", "off");
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.log.removeAttribute("aria-live"), QUIET);
  }

  #turnActions = {
    retry: (turn) => this.#actions.retry(turn),
    rate: (...what) => this.#actions.rate(...what),
    regenerate: (turn) => this.#again(this.#actions.regenerate(turn)),
    edit: (turn, text) => this.#again(this.#actions.edit(turn, text)),
    step: (turn, by) => {
      const other = this.#actions.step(turn, by);
      if (!other) return;
      this.#follows = false;
      this.#now();
      this.#turns.get(other)?.branches.focus(by);
    },
  };

  /** An answer is being written in another's place: whoever asked for it can stop it. */
  #again(accepted) {
    if (!accepted) return false;
    this.#follows = true;
    this.#now();
    this.composer.stop.focus();
    return true;
  }

  #now() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#draw();
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

  #send(text) {
    this.#follows = true;
    if (!this.#actions.send(text)) return;
    this.notify("");
    if (this.composer.text === text) this.composer.text = "";
    this.focus();
  }

  #startOver() {
    if (!this.#actions.reset()) return;
    this.#follows = true;
    this.focus();
  }

  #dismiss() {
    this.notify("");
    this.focus();
  }

  /** What is read stays where it is while older turns come in above it. */
  async #older() {
    this.older.disabled = true;
    const fromBottom = this.log.scrollHeight - this.log.scrollTop;
    try {
      await this.#actions.older();
      this.#now();
      this.log.scrollTop = this.log.scrollHeight - fromBottom;
    } catch (error) {
      this.notify(error.message);
    }
    this.older.disabled = false;
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
  if (turn.phase === REFUSED) return turn.refusal.readyAt && secondsUntil(turn.refusal.readyAt) === 0 ? words.ready : `${refusalWords(turn.refusal, words)}.`;
  const { status } = turn.generation;
  if (status === "cancelled") return words.stopped;
  if (status === "error") return words.failed;
  return words.finished;
}
