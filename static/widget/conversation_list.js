/** The list of the visitor's conversations, newest first. */

import { ConversationRow } from "./conversation_row.js";
import { ICONS, element, icon, say, show } from "./dom.js";

export class ConversationList {
  #words;
  #actions;
  #rows = new Map(); // id → ConversationRow
  #conversations = null;
  #at = null; // id of the row at which the tabulator stops

  /** `actions`: open(id), rename(id, title) → promise, remove(id) → promise, fresh(), more(), look(). */
  constructor(words, actions) {
    this.#words = words;
    this.#actions = actions;
    this.fresh = element("button", { type: "button", className: "fresh-row", onclick: () => actions.fresh() }, icon(ICONS.plus), words.newChat);
    this.rows = element("ul", { className: "rows", "aria-label": words.conversations });
    this.rows.addEventListener("keydown", (event) => this.#keyed(event));
    this.rows.addEventListener("focusin", ({ target }) => this.#noteFocus(target));
    this.more = element("button", { type: "button", className: "quiet", hidden: true, onclick: () => actions.more() }, words.more);
    this.said = element("p", { className: "said" });
    this.again = element("button", { type: "button", className: "quiet", hidden: true, onclick: () => actions.look() }, icon(ICONS.retry), words.retry);
    const past = element("div", { className: "past" }, this.rows, this.more, this.said, this.again);
    this.node = element("nav", { className: "list", "aria-label": words.conversations }, this.fresh, past);
  }

  /** Shows `conversations`, of which the one with the id `openId` is open (null: none). */
  update(conversations, openId, now = Date.now()) {
    this.#conversations = conversations;
    const { list, next, error } = conversations;
    const entries = list ?? [];
    const focused = this.#focusedId();
    const before = focused === null ? -1 : [...this.#rows.keys()].indexOf(focused);
    this.#dropOthers(entries);
    entries.forEach((entry, at) => {
      let row = this.#rows.get(entry.id);
      if (!row) this.#rows.set(entry.id, (row = new ConversationRow(this.#words, this.#actions)));
      row.update(entry, { isOpen: entry.id === openId, now });
      if (this.rows.children[at] !== row.node) this.#put(row.node, at);
    });
    if (!entries.some(({ id }) => id === this.#at)) this.#at = entries.find(({ id }) => id === openId)?.id ?? entries[0]?.id ?? null;
    for (const [id, row] of this.#rows) row.reachable = id === this.#at;
    if (before >= 0 && !this.#rows.has(focused)) this.#focusNear(entries, before);
    show(this.rows, entries.length > 0);
    show(this.more, next !== null);
    show(this.again, error !== null);
    say(this.said, error ? this.#words.listFailed : list === null ? this.#words.listLoading : entries.length === 0 ? this.#words.listEmpty : "");
    show(this.said, this.said.textContent !== "");
  }

  focus() {
    (this.#rows.get(this.#at)?.open ?? this.fresh).focus();
  }

  #dropOthers(entries) {
    const ids = new Set(entries.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      row.node.remove();
      this.#rows.delete(id);
    }
  }

  /** Moving a node takes the focus from it. */
  #put(node, at) {
    const { activeElement } = node.getRootNode();
    const held = node.contains(activeElement) ? activeElement : null;
    this.rows.insertBefore(node, this.rows.children[at] ?? null);
    held?.focus();
  }

  #focusedId() {
    const focused = this.node.getRootNode().activeElement;
    for (const [id, row] of this.#rows) if (row.node.contains(focused)) return id;
    return null;
  }

  /** The row with the focus went: the next one has it. */
  #focusNear(entries, before) {
    const entry = entries[Math.min(before, entries.length - 1)];
    (entry ? this.#rows.get(entry.id).open : this.fresh).focus();
  }

  #noteFocus(target) {
    for (const [id, row] of this.#rows) {
      if (row.node.contains(target)) this.#at = id;
    }
    for (const [id, row] of this.#rows) row.reachable = id === this.#at;
  }

  #keyed(event) {
    const openers = (this.#conversations?.list ?? []).map(({ id }) => this.#rows.get(id).open);
    const at = openers.indexOf(event.target);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: openers.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    openers[to]?.focus();
  }
}
