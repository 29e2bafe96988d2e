/** One turn: the question, and the answer with whatever is to be said about it and done with it. */

import { BranchNav } from "./branch_nav.js";
import { ICONS, copy, element, icon, iconButton, relabel, say, show } from "./dom.js";
import { ProblemView } from "./problem_view.js";
import { QuestionView } from "./question_view.js";
import { RatingView } from "./rating_view.js";
import { REFUSED, SENDING } from "./turn.js";

/** Milliseconds for which a copy is confirmed. */
const CONFIRMED = 1500;

export class TurnView {
  #words;
  #shown = ""; // the text that stands in the text node

  /** `actions`: retry(turn), regenerate(turn), edit(turn, text) → accepted, step(turn, by), rate(turn, rating, comment). */
  constructor(turn, words, actions) {
    this.#words = words;
    this.text = document.createTextNode("");
    this.answer = element("div", { className: "text" }, this.text);
    this.thoughtText = element("div", { className: "thought-text" });
    this.thought = element("details", { className: "thought", hidden: true }, element("summary", {}, words.reasoning), this.thoughtText);
    this.calls = element("ul", { className: "calls", hidden: true });
    this.pending = element("p", { className: "pending" }, element("span", { className: "pulse", "aria-hidden": "true" }), element("span", {}));
    this.meta = element("p", { className: "meta", hidden: true });
    this.problem = new ProblemView(words, () => actions.retry(turn));
    this.copy = iconButton(ICONS.copy, words.copy, () => this.#copy());
    this.again = iconButton(ICONS.retry, words.regenerate, () => actions.regenerate(turn), "tool idle-only");
    this.rating = new RatingView(words, (rating, comment) => actions.rate(turn, rating, comment));
    this.branches = new BranchNav(words, (by) => actions.step(turn, by));
    this.facts = element("span", { className: "facts" });
    this.cached = element("span", { className: "badge", title: words.cachedHelp, hidden: true }, words.cached);
    this.foot = element("div", { className: "foot", hidden: true }, this.copy, this.again, this.rating.node, this.facts, this.cached, this.rating.note);
    this.question = new QuestionView(words, (text) => actions.edit(turn, text));
    this.reply = element(
      "article",
      { className: "reply", "aria-label": words.assistant },
      ...[this.thought, this.calls, this.answer, this.pending, this.meta, this.problem.node, this.foot, this.rating.form],
    );
    this.node = element("div", { className: "turn" }, this.question.node, this.reply);
  }

  /** Shows the turn as it is, at its `place` among its siblings; returns whether it changes by itself with time. */
  update(turn, place, isLast) {
    const { generation } = turn;
    const running = turn.phase !== REFUSED && !turn.settled;
    this.question.update({ question: turn.question, editable: !running });
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
    this.#showFoot(turn, place);
    return this.problem.update(turn, { isLast });
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

  #showFoot(turn, place) {
    const { text, model, usage, cached } = turn.generation;
    const { settled } = turn;
    const hasText = settled && text !== "";
    this.branches.update(place);
    const home = place.otherwise ? this.question.below : this.foot;
    if (place.of > 1 && this.branches.node.parentNode !== home) home.insertBefore(this.branches.node, home === this.foot ? this.facts : null);
    show(this.copy, hasText);
    show(this.again, settled && turn.generation.status !== "error"); // which has a button of its own
    show(this.rating.node, hasText);
    this.rating.update(turn);
    say(this.facts, hasText ? [model, usage?.output != null ? this.#words.tokens(usage.output) : null].filter(Boolean).join(" · ") : "");
    show(this.cached, settled && cached);
    show(this.foot, !this.again.hidden || hasText || (place.of > 1 && home === this.foot));
  }

  async #copy() {
    if (!(await copy(this.#shown))) return;
    relabel(this.copy, this.#words.copied);
    this.copy.replaceChildren(icon(ICONS.check));
    setTimeout(() => {
      relabel(this.copy, this.#words.copy);
      this.copy.replaceChildren(icon(ICONS.copy));
    }, CONFIRMED);
  }
}

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
