/** Thumbs up or down for an answer, and a word about it for those who want to say one. */

import { ICONS, element, iconButton, say, show } from "./dom.js";

/** Characters of a comment at most; the server's limit. */
const MAX_COMMENT = 2000;

export class RatingView {
  #words;
  #onRate;
  #feedback = null;

  /** `onRate(rating, comment)`: up, down, or null, which takes it back. */
  constructor(words, onRate) {
    this.#words = words;
    this.#onRate = onRate;
    this.up = iconButton(ICONS.thumb, words.good, () => this.#press("up"));
    this.down = iconButton(ICONS.thumb, words.bad, () => this.#press("down"), "tool upside-down");
    this.note = element("span", { className: "note", role: "status" });
    this.node = element("span", { className: "rating" }, this.up, this.down);
    this.input = element("input", { type: "text", maxLength: MAX_COMMENT, autocomplete: "off", "aria-label": words.commentLabel });
    this.form = element(
      "form",
      { className: "comment", hidden: true },
      this.input,
      element("button", { type: "submit", className: "button" }, words.commentSend),
      iconButton(ICONS.close, words.close, () => this.#close()),
    );
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#comment();
    });
    this.form.addEventListener("keydown", (event) => event.key === "Escape" && this.#close());
  }

  update({ feedback, feedbackError }) {
    this.#feedback = feedback;
    for (const [button, rating] of [[this.up, "up"], [this.down, "down"]]) {
      button.setAttribute("aria-pressed", String(feedback?.rating === rating));
    }
    if (feedbackError) say(this.note, this.#words.ratingFailed(feedbackError));
  }

  #press(rating) {
    const taken = this.#feedback?.rating === rating;
    say(this.note, "");
    this.input.value = "";
    this.input.placeholder = rating === "up" ? this.#words.commentGood : this.#words.commentBad;
    show(this.form, !taken);
    this.#onRate(taken ? null : rating, "");
  }

  #comment() {
    const comment = this.input.value.trim();
    const { rating } = this.#feedback ?? {};
    this.#close();
    if (!comment || !rating) return;
    say(this.note, this.#words.thanks);
    this.#onRate(rating, comment);
  }

  #close() {
    show(this.form, false);
    (this.#feedback?.rating === "down" ? this.down : this.up).focus();
  }
}
