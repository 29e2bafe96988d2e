/** What the visitor asked, and the place to ask otherwise. */

import { ICONS, element, iconButton, say, show } from "./dom.js";
import { growing, isSending } from "./typing.js";

export class QuestionView {
  #words;
  #onEdit;
  #text = "";

  /** `onEdit(text)` → whether it was taken. */
  constructor(words, onEdit) {
    this.#words = words;
    this.#onEdit = onEdit;
    this.bubble = element("div", { className: "bubble" });
    this.edit = iconButton(ICONS.edit, words.edit, () => this.#open(), "tool idle-only");
    this.row = element("div", { className: "asked" }, this.edit, this.bubble);
    this.form = null;
    this.below = element("div", { className: "below" });
    this.node = element("article", { className: "question", "aria-label": words.you }, this.row, this.below);
  }

  update({ question, editable }) {
    this.#text = question;
    say(this.bubble, question);
    show(this.edit, editable);
  }

  #open() {
    const words = this.#words;
    const input = growing(element("textarea", { rows: 1, value: this.#text, "aria-label": words.editLabel }));
    const send = element("button", { type: "submit", className: "button primary" }, words.editSend);
    const cancel = element("button", { type: "button", className: "button", onclick: () => this.#close() }, words.cancel);
    this.form = element("form", { className: "editor" }, input, element("div", { className: "buttons" }, cancel, send));
    input.addEventListener("input", () => (send.disabled = input.value.trim() === ""));
    this.form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.#close();
      else if (event.target === input && isSending(event)) this.form.requestSubmit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#onEdit(input.value)) this.#close({ refocus: false });
    });
    show(this.row, false);
    this.row.after(this.form);
    input.focus();
    input.setSelectionRange(input.value.length, input.value.length);
    growing(input);
  }

  #close({ refocus = true } = {}) {
    this.form.remove();
    this.form = null;
    show(this.row, true);
    if (refocus) this.edit.focus();
  }
}
