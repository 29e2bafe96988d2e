/**
 * `<ai-chat>`: a chat that streams, resumes, stops, and ends with the stored text. One tag embeds it:
 *
 *     <script type="module" src="https://chat.example/static/widget.js"></script>
 *     <ai-chat token-url="/my-site/chat-token"></ai-chat>
 *
 * Attributes: `base-url` (default: where this script comes from), `token-url` (asked by POST for `{token, expires_in}`),
 * `route` (default: the site's `chat`).
 * Properties: `getToken` (async ({renew}) => token) instead of `token-url`; `suggestions`, `greeting`, `words`.
 * Events (they bubble; `detail` is described at `describe`): `ai-chat-start`, `ai-chat-delta`, `ai-chat-end`, and
 * `ai-chat-change` after everything else that changes.
 */

import { Api, fetchToken } from "./widget/api.js";
import { ACCEPTED, Chat } from "./widget/chat.js";
import { Store } from "./widget/store.js";
import { style } from "./widget/style.js";
import { TokenSource } from "./widget/token_source.js";
import { View } from "./widget/view.js";
import { ENGLISH } from "./widget/words.js";

/** The product's own root: this file stands in its `static/`. */
const HOME = new URL("../", import.meta.url).href;

/** How long a call waits for the page to set `getToken`. */
const PATIENCE_MS = 3000;

const SUGGESTIONS = ["What can you help me with?", "Explain server-sent events in two sentences.", "Write a haiku about patience."];

export class AiChat extends HTMLElement {
  #chat = null;
  #view = null;
  #api = null;
  #tokens = null;
  #shownText = "";
  #suggestions = SUGGESTIONS;
  #greeting = null;
  #getToken = null;
  #onGetToken = () => {};

  /** Replacements for what the widget says, by the names in `widget/words.js`. Set before the script is loaded. */
  words = this.words ?? {};

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [style];
    this.#adopt("getToken");
    this.#adopt("suggestions");
    this.#adopt("greeting");
  }

  get baseUrl() {
    return new URL(this.getAttribute("base-url") ?? HOME, document.baseURI).href.replace(/\/?$/, "/");
  }

  /** async ({renew}) => token; `renew` is true when the last token was refused. */
  get getToken() {
    return this.#getToken;
  }

  set getToken(getToken) {
    this.#getToken = getToken;
    this.#onGetToken();
  }

  get suggestions() {
    return this.#suggestions;
  }

  set suggestions(texts) {
    this.#suggestions = texts;
    this.#view?.setSuggestions(texts);
  }

  get greeting() {
    return this.#greeting;
  }

  set greeting(text) {
    this.#greeting = text;
    this.#view?.setGreeting(text);
  }

  connectedCallback() {
    this.#api ??= new Api(this.baseUrl, (wish) => this.#token(wish));
    this.#view ??= this.#newView();
    this.#chat = new Chat({
      api: this.#api,
      store: new Store(`ai-chat ${this.baseUrl} ${this.id}`),
      route: () => this.getAttribute("route"),
      onChange: (turn, what) => this.#changed(turn, what),
    });
    this.#chat.restore();
    this.#view.render(this.#chat);
  }

  disconnectedCallback() {
    this.#chat.disconnect();
  }

  focus() {
    this.#view?.focus();
  }

  /** Sends a message as if it had been typed; false while another is being answered. */
  send(message) {
    return this.#chat?.send(message) ?? false;
  }

  /** Stops the running answer. */
  stop() {
    return this.#chat?.stop();
  }

  /** Begins a new conversation; false while an answer is being written. */
  reset() {
    return this.#chat?.reset() ?? false;
  }

  #newView() {
    const view = new View(this.shadowRoot, { ...ENGLISH, ...this.words }, {
      send: (text) => this.#chat.send(text),
      stop: () => this.#chat.stop(),
      retry: (turn) => this.#chat.retry(turn),
      reset: () => this.#chat.reset(),
    });
    view.setSuggestions(this.#suggestions);
    if (this.#greeting) view.setGreeting(this.#greeting);
    return view;
  }

  async #token(wish) {
    const url = this.getAttribute("token-url");
    if (!url && !this.#getToken) await this.#wayIn();
    if (this.#getToken) return this.#getToken(wish);
    if (!url) throw new Error("This chat has no way to sign in: set getToken or token-url.");
    this.#tokens ??= new TokenSource(() => fetchToken(new URL(url, document.baseURI)));
    return this.#tokens.get(wish);
  }

  /** A page may set `getToken` a little later than an answer is picked up again. */
  #wayIn() {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, PATIENCE_MS);
      this.#onGetToken = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #changed(turn, what) {
    this.#view.render(this.#chat);
    const detail = turn && this.#describe(turn);
    this.#shownText = turn?.generation.text ?? "";
    this.dispatchEvent(new CustomEvent(`ai-chat-${what}`, { detail, bubbles: true, composed: true }));
  }

  /** What an event tells: the turn as it is. `piece` is the text just appended, null where the text was replaced. */
  #describe(turn) {
    const { status, text, events, run, provider, model, usage, finishReason, error } = turn.generation;
    return {
      id: turn.id,
      phase: turn.phase === ACCEPTED ? status : turn.phase,
      settled: turn.settled,
      verified: turn.verified,
      text,
      piece: text.startsWith(this.#shownText) ? text.slice(this.#shownText.length) : null,
      link: this.#chat.link,
      events,
      resumes: turn.resumes,
      firstTextMs: turn.firstTextMs,
      elapsedMs: turn.elapsedMs,
      run,
      provider,
      model,
      usage,
      finishReason,
      error: error ?? turn.refusal,
      self: turn.links && this.#api.resolve(turn.links.self).href,
    };
  }

  /** Takes over a property that was set before the element was defined, and now hides the accessor. */
  #adopt(name) {
    if (!Object.hasOwn(this, name)) return;
    const value = this[name];
    delete this[name];
    this[name] = value;
  }
}

customElements.define("ai-chat", AiChat);
