/** One conversation of the list: its title, when it was, and how to rename and delete it. */

import { ICONS, element, iconButton, say, show } from "./dom.js";

/** Characters of a title at most; the server's limit. */
const MAX_TITLE = 200;

export class ConversationRow {
  #words;
  #actions;
  #entry = null;
  #form = null; // while it is renamed, or its deletion is asked for again

  /** `actions`: open(id), rename(id, title) → promise, remove(id) → promise. */
  constructor(words, actions) {
    this.#words = words;
    this.#actions = actions;
    this.title = element("span", { className: "row-title" });
    this.time = element("time", {});
    this.busy = element("span", { className: "pulse", role: "img", "aria-label": words.busy, title: words.busy, hidden: true });
    this.open = element("button", { type: "button", className: "row-open", onclick: () => actions.open(this.#entry.id) }, this.title, element("span", { className: "row-when" }, this.busy, this.time));
    this.rename = iconButton(ICONS.edit, words.rename, () => this.#askTitle());
    this.remove = iconButton(ICONS.trash, words.remove, () => this.#askAgain());
    this.tools = element("span", { className: "row-tools" }, this.rename, this.remove);
    this.problem = element("p", { className: "row-problem", role: "alert", hidden: true });
    this.node = element("li", { className: "row" }, this.open, this.tools, this.problem);
    this.node.addEventListener("keydown", (event) => this.#keyed(event));
  }

  update(entry, { isOpen, now }) {
    this.#entry = entry;
    say(this.title, entry.title || this.#words.untitled);
    this.title.title = entry.title;
    const when = new Date(entry.updated_at);
    say(this.time, this.#words.ago(now - when));
    this.time.dateTime = entry.updated_at;
    this.time.title = when.toLocaleString();
    show(this.busy, entry.busy);
    if (isOpen) this.open.setAttribute("aria-current", "true");
    else this.open.removeAttribute("aria-current");
  }

  /** Whether the tabulator stops here: at one row of the list only, the arrow keys reach the others. */
  set reachable(reachable) {
    for (const button of [this.open, this.rename, this.remove]) button.tabIndex = reachable ? 0 : -1;
  }

  #keyed(event) {
    if (event.key === "Escape" && this.#form) this.#close();
    else if (event.target !== this.open) return;
    else if (event.key === "F2") this.#askTitle();
    else if (event.key === "Delete") this.#askAgain();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #askTitle() {
    const words = this.#words;
    const input = element("input", { type: "text", value: this.#entry.title, maxLength: MAX_TITLE, "aria-label": words.titleLabel, autocomplete: "off" });
    const form = element("form", { className: "row-form" }, input, iconButton(ICONS.check, words.save, () => form.requestSubmit()), iconButton(ICONS.close, words.cancel, () => this.#close()));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const title = input.value.trim();
      if (!title || title === this.#entry.title) this.#close();
      else this.#carryOut(() => this.#actions.rename(this.#entry.id, title));
    });
    this.#show(form);
    input.setSelectionRange(0, input.value.length, "backward"); // its beginning is in sight
  }

  /** A second press deletes, at another place than the first: a double click does nothing. */
  #askAgain() {
    const words = this.#words;
    const sure = element("button", { type: "button", className: "button danger", onclick: () => this.#carryOut(() => this.#actions.remove(this.#entry.id)) }, words.removeSure);
    const keep = element("button", { type: "button", className: "button", onclick: () => this.#close() }, words.keep);
    const { title } = this.#entry;
    const asks = element("div", { className: "row-form asks", role: "group", "aria-label": words.removeQuestion(title) });
    asks.append(element("span", { className: "row-title", title }, title), element("span", { className: "row-when" }, words.removeAsk), sure, keep);
    this.#show(asks);
    sure.focus();
  }

  #show(form) {
    this.#form?.remove();
    this.#form = form;
    show(this.problem, false);
    show(this.open, false);
    show(this.tools, false);
    this.node.prepend(form);
    form.querySelector("input")?.focus();
    form.addEventListener("focusout", ({ relatedTarget }) => {
      if (this.#form === form && relatedTarget && !form.contains(relatedTarget)) this.#close({ refocus: false });
    });
  }

  async #carryOut(act) {
    const form = this.#form;
    if (form.getAttribute("aria-busy") === "true") return;
    form.setAttribute("aria-busy", "true"); // not `inert`, which drops the focus
    try {
      await act();
      if (this.#form === form) this.#close();
    } catch (error) {
      if (this.#form === form) this.#close();
      say(this.problem, error.message);
      show(this.problem, true);
    }
  }

  #close({ refocus = true } = {}) {
    this.#form?.remove();
    this.#form = null;
    show(this.open, true);
    show(this.tools, true);
    if (refocus && this.node.isConnected) this.open.focus();
  }
}
