/** One turn from its request to its end: posted, waiting for its place, followed, stopped. */

import { Follower } from "./follower.js";
import { isTerminal } from "./generation.js";
import { ACCEPTED, REFUSED, SENDING } from "./turn.js";

export class Answering {
  #api;
  #onChange;
  #onAccepted;
  #onGone;
  #follower = null;
  #waiting = null; // AbortController while another answer of the conversation is being written
  #closed = false;

  /**
   * `onChange(turn, what)`: what is start, delta, end or change. `onAccepted(accepted)`: before its start. `onGone()`: instead of an end,
   * where what the request names is not there.
   */
  constructor({ api, turn, onChange, onAccepted, onGone }) {
    this.#api = api;
    this.turn = turn;
    this.#onChange = onChange;
    this.#onAccepted = onAccepted;
    this.#onGone = onGone;
  }

  get link() {
    return this.#follower?.link ?? "closed";
  }

  /** Sends the request, as the same one however often; then follows the answer. */
  async post() {
    const { turn } = this;
    Object.assign(turn, { phase: SENDING, refusal: null, sentAt: performance.now() });
    this.#onChange(turn, "change");
    let accepted;
    try {
      accepted = await this.#accepted();
    } catch (error) {
      const { parent, regenerate, edit } = turn.body;
      if (error.code === "not_found" && (parent ?? regenerate ?? edit) && !this.#closed) this.#onGone();
      else this.#refuse(error);
      return;
    }
    Object.assign(turn, { phase: ACCEPTED, id: accepted.id, links: accepted.links, ticket: accepted.ticket ?? null });
    this.#onAccepted(accepted);
    this.#onChange(turn, "start");
    if (this.#closed) return;
    this.follow();
    if (turn.stopping) await this.#cancel();
  }

  /** Follows an answer that was asked for already. */
  follow() {
    const { turn } = this;
    const resumesBefore = turn.resumes;
    this.#follower = new Follower({
      api: this.#api,
      links: turn.links,
      ticket: turn.ticket,
      onChange: (follower) => {
        const before = turn.generation;
        turn.generation = follower.state;
        turn.settled = follower.settled;
        turn.verified = follower.verified;
        turn.resumes = resumesBefore + Math.max(0, follower.opens - 1);
        noteTimes(turn);
        this.#onChange(turn, turn.settled ? "end" : before.text === turn.generation.text ? "change" : "delta");
      },
    });
    this.#follower.start();
  }

  /** Asks for the end. It ends when the server says so. */
  async stop() {
    const { turn } = this;
    if (turn.stopping) return;
    Object.assign(turn, { stopping: true, stopError: null });
    this.#onChange(turn, "change");
    if (this.#waiting) this.#waiting.abort();
    else if (this.#follower) await this.#cancel();
  }

  /** Lets go of the connection; the generation goes on. */
  disconnect() {
    this.#closed = true;
    this.#waiting?.abort();
    this.#follower?.stop();
    this.#follower = null;
  }

  /** Posts until the conversation is free: one answer at a time is the server's rule. */
  async #accepted() {
    const { turn } = this;
    for (;;) {
      try {
        return await this.#api.post(turn.body, turn.key);
      } catch (error) {
        if (error.code !== "conversation_busy" || !error.links || turn.stopping || this.#closed) throw error;
        turn.blocked = true;
        this.#onChange(turn, "change");
        await this.#ended(error.links);
        turn.blocked = false;
      }
    }
  }

  async #ended(links) {
    this.#waiting = new AbortController();
    const { signal } = this.#waiting;
    try {
      for (;;) {
        const begun = performance.now();
        if (isTerminal(await this.#api.poll(links, { waitSeconds: 25, signal }))) return;
        if (performance.now() - begun < 1000) await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    } finally {
      this.#waiting = null;
    }
  }

  #refuse(error) {
    const { turn } = this;
    const stopped = turn.stopping && error.name === "AbortError";
    turn.phase = REFUSED;
    turn.stopping = false;
    turn.blocked = false;
    turn.refusal = {
      code: stopped ? "not_sent" : (error.code ?? "client"),
      message: stopped ? "The message was not sent." : error.message,
      limit: error.limit ?? null,
      requestId: error.requestId ?? null,
      retryable: stopped || (error.retryable ?? true),
      needsAccess: error.status === 401,
      readyAt: error.retryAfter ? Date.now() + error.retryAfter * 1000 : null,
    };
    this.#onChange(turn, "end");
  }

  async #cancel() {
    const { turn } = this;
    try {
      await this.#follower.cancel();
    } catch (error) {
      if (turn.settled) return;
      turn.stopping = false;
      turn.stopError = error.message;
      this.#onChange(turn, "change");
    }
  }
}

function noteTimes(turn) {
  if (turn.sentAt === null) return; // sent before a reload: this page's clock began later
  const sinceSent = Math.round(performance.now() - turn.sentAt);
  if (turn.firstTextMs === null && turn.generation.text) turn.firstTextMs = sinceSent;
  turn.elapsedMs = sinceSent;
}
