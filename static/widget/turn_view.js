/** One turn: the question, and the answer with whatever is to be said about it. */

import { REFUSED, SENDING } from "./chat.js";
import { ICONS, copy, element, icon, say, show } from "./dom.js";

export class TurnView {
  #words;
  #shown = ""; // the text that stands in the text node

  /** `onRetry(turn)` is called by the button. */
  constructor(words, onRetry) {
    this.#words = words;
    this.turn = null;
    this.text = document.createTextNode("");
    this.answer = element("div", { className: "text" }, this.text);
    this.thoughtText = element("div", { className: "thought-text" });
    this.thought = element("details", { className: "thought", hidden: true }, element("summary", {}, words.reasoning), this.thoughtText);
    this.calls = element("ul", { className: "calls", hidden: true });
    this.pending = element("p", { className: "pending" }, element("span", { className: "pulse", "aria-hidden": "true" }), element("span", {}));
    this.meta = element("p", { className: "meta", hidden: true });
    this.retryLabel = element("span", {}, words.retry);
    this.retry = element("button", { type: "button", className: "quiet", onclick: () => onRetry(this.turn) }, icon(ICONS.retry), this.retryLabel);
    this.problemTitle = element("strong", {});
    this.problemText = element("span", {});
    this.problemCode = element("code", {});
    this.problem = element(
      "div",
      { className: "problem", role: "alert", hidden: true },
      element("p", {}, this.problemTitle, " ", this.problemText),
      element("p", { className: "problem-foot" }, this.retry, this.problemCode),
    );
    this.copyLabel = element("span", {}, words.copy);
    this.copy = element("button", { type: "button", className: "quiet", onclick: () => this.#copy() }, icon(ICONS.copy), this.copyLabel);
    this.facts = element("span", { className: "facts" });
    this.foot = element("div", { className: "foot", hidden: true }, this.copy, this.facts);
    this.question = element("div", { className: "bubble" });
    this.reply = element(
      "article",
      { className: "reply", "aria-label": words.assistant },
      this.thought,
      this.calls,
      this.answer,
      this.pending,
      this.meta,
      this.problem,
      this.foot,
    );
    this.node = element("div", { className: "turn" }, element("article", { className: "question", "aria-label": words.you }, this.question), this.reply);
  }

  /** Shows the turn as it is; returns whether it changes by itself with time. */
  update(turn) {
    this.turn = turn;
    const { generation } = turn;
    const running = turn.phase !== REFUSED && !turn.settled;
    say(this.question, turn.question);
    this.#write(generation.text);
    this.reply.classList.toggle("writing", running && generation.text !== "");
    if (this.reply.getAttribute("aria-busy") !== String(running)) this.reply.setAttribute("aria-busy", String(running));
    show(this.answer, generation.text !== "");
    show(this.thought, generation.reasoning !== "");
    say(this.thoughtText, generation.reasoning);
    this.#showCalls(generation.toolCalls);
    show(this.pending, running && generation.text === "");
    say(this.pending.lastChild, running ? pendingWords(turn, this.#words) : "");
    this.#showMeta(turn);
    this.#showFoot(turn, running);
    return this.#showProblem(turn);
  }

  /** Appends where the text grew, so that a selection stays and nothing is laid out twice. */
  #write(text) {
    if (text === this.#shown) return;
    if (text.startsWith(this.#shown)) this.text.appendData(text.slice(this.#shown.length));
    else this.text.data = text;
    this.#shown = text;
  }

  #showCalls(calls) {
    show(this.calls, calls.length > 0);
    while (this.calls.children.length > calls.length) this.calls.lastChild.remove();
    calls.forEach((call, at) => {
      const item = this.calls.children[at] ?? this.calls.appendChild(element("li", {}));
      say(item, `${call.name ?? call.function?.name ?? ""}(${call.arguments ?? call.function?.arguments ?? ""})`);
    });
  }

  #showMeta(turn) {
    const words = this.#words;
    const { status, finishReason, repaired } = turn.generation;
    const notes = [];
    if (turn.settled && status === "cancelled") notes.push(words.stopped);
    if (turn.settled && status === "incomplete") notes.push(words.incomplete(finishReason));
    if (turn.settled && repaired) notes.push(words.repaired);
    if (turn.settled && turn.verified === false && status !== "error") notes.push(words.unverified);
    show(this.meta, notes.length > 0);
    say(this.meta, notes.join(" "));
  }

  #showFoot(turn, running) {
    const { text, model, usage, cached } = turn.generation;
    show(this.foot, !running && text !== "");
    const facts = [model, usage?.output != null ? this.#words.tokens(usage.output) : null, cached ? this.#words.cached : null];
    say(this.facts, facts.filter(Boolean).join(" · "));
  }

  #showProblem(turn) {
    const words = this.#words;
    const refused = turn.phase === REFUSED;
    const error = refused ? turn.refusal : turn.settled ? turn.generation.error : null;
    show(this.problem, error !== null);
    if (error === null) return false;
    say(this.problemTitle, `${refused ? refusalWords(error, words) : words.failed}.`);
    say(this.problemText, error.needsAccess || error.code === "unauthorized" ? `${error.message} ${words.accessHelp}` : error.message);
    say(this.problemCode, [error.code, error.requestId].filter(Boolean).join(" · "));
    show(this.retry, error.retryable || error.needsAccess === true);
    const seconds = error.readyAt ? Math.ceil((error.readyAt - Date.now()) / 1000) : 0;
    this.retry.disabled = seconds > 0;
    say(this.retryLabel, seconds > 0 ? words.retryIn(seconds) : words.retry);
    return seconds > 0;
  }

  async #copy() {
    const done = await copy(this.#shown);
    if (!done) return;
    say(this.copyLabel, this.#words.copied);
    setTimeout(() => say(this.copyLabel, this.#words.copy), 1500);
  }
}

/** Whether it is known that the message was not taken. */
export const refusalWords = ({ code }, words) => (["network", "timeout"].includes(code) ? words.unconfirmed : words.refused);

/** What an answer without text yet is waiting for. */
export function pendingWords(turn, words) {
  const { status, position, wait } = turn.generation;
  if (turn.blocked) return words.blocked;
  if (turn.stopping) return words.stopping;
  if (turn.phase === SENDING) return words.sending;
  if (wait) return words.waiting(wait.reason, wait.retryAfter);
  if (status === "queued") return words.queued(position);
  return words.thinking;
}
