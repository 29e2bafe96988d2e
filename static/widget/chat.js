/**
 * A conversation as one tab holds it: its turns, what is sent, stopped, tried again, and picked up after a reload.
 * It knows no DOM; whoever shows it listens to `onChange(turn)` and reads `turns`.
 */

import { Follower } from "./follower.js";
import { fresh, isTerminal } from "./generation.js";

/** A turn's life before it has a generation: sending → (refused | accepted). */
export const SENDING = "sending";
export const REFUSED = "refused";
export const ACCEPTED = "accepted";

export class Chat {
  #api;
  #store;
  #route;
  #onChange;
  #follower = null;
  #waiting = null; // AbortController of a send that waits for another answer of the conversation
  #conversationId = null;
  #closed = false;

  /** `route()`: the site's route to ask, null for its default. `onChange(turn, what)`: what is start, delta, end or change. */
  constructor({ api, store, route, onChange }) {
    this.#api = api;
    this.#store = store;
    this.#route = route;
    this.#onChange = onChange;
    this.turns = [];
  }

  /** The turn that is being answered; null where a message can be sent. */
  get running() {
    const last = this.turns.at(-1);
    return last && last.phase !== REFUSED && !last.settled ? last : null;
  }

  get link() {
    return this.#follower?.link ?? "closed";
  }

  /** Shows the turns of before a reload, and follows the one that was not over. */
  restore() {
    const kept = this.#store.load();
    if (!kept) return;
    this.#conversationId = kept.conversationId;
    this.turns = kept.turns.map(restored);
    for (const turn of this.turns) this.#onChange(turn, "change");
    const turn = this.running;
    if (!turn) return;
    if (turn.phase === ACCEPTED) {
      turn.resumes += 1;
      this.#changed(turn, "start");
      this.#follow(turn);
    } else this.#post(turn); // it may have arrived or not; the key makes it one generation
  }

  /** Sends a message; false while another is being answered. */
  send(message) {
    if (this.running || !message.trim()) return false;
    const turn = newTurn(message);
    this.turns.push(turn);
    this.#post(turn);
    return true;
  }

  /** Sends the last turn again: the same request when it was refused, a new one when its answer failed. */
  retry(turn) {
    if (this.running || turn !== this.turns.at(-1)) return;
    if (turn.phase !== REFUSED) this.turns[this.turns.length - 1] = turn = newTurn(turn.question);
    this.#post(turn);
  }

  /** Asks for the end of the running answer. It ends when the server says so. */
  async stop() {
    const turn = this.running;
    if (!turn || turn.stopping) return;
    turn.stopping = true;
    turn.stopError = null;
    this.#onChange(turn, "change");
    if (this.#waiting) this.#waiting.abort();
    else if (this.#follower) await this.#cancel(turn);
  }

  /** Begins a new conversation; false while an answer is being written. */
  reset() {
    if (this.running) return false;
    this.#conversationId = null;
    this.turns = [];
    this.#store.clear();
    this.#onChange(null, "change");
    return true;
  }

  /** Lets go of the connection; the generation goes on. */
  disconnect() {
    this.#closed = true;
    this.#waiting?.abort();
    this.#follower?.stop();
    this.#follower = null;
  }

  async #post(turn) {
    turn.phase = SENDING;
    turn.refusal = null;
    turn.sentAt = performance.now();
    this.#changed(turn);
    let accepted;
    try {
      accepted = await this.#accepted(turn);
    } catch (error) {
      this.#refuse(turn, error);
      return;
    }
    Object.assign(turn, { phase: ACCEPTED, id: accepted.id, links: accepted.links, ticket: accepted.ticket ?? null });
    this.#conversationId = accepted.conversation_id ?? this.#conversationId;
    this.#changed(turn, "start");
    if (this.#closed) return;
    this.#follow(turn);
    if (turn.stopping) await this.#cancel(turn);
  }

  /** Posts until the conversation is free: one answer at a time is the server's rule. */
  async #accepted(turn) {
    for (;;) {
      try {
        return await this.#api.post({
          message: turn.question,
          conversationId: this.#conversationId,
          route: this.#route(),
          key: turn.key,
        });
      } catch (error) {
        if (error.code !== "conversation_busy" || !error.links || turn.stopping) throw error;
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

  #refuse(turn, error) {
    const stopped = turn.stopping && error.name === "AbortError";
    turn.phase = REFUSED;
    turn.stopping = false;
    turn.blocked = false;
    turn.refusal = {
      code: stopped ? "not_sent" : (error.code ?? "client"),
      message: stopped ? "The message was not sent." : error.message,
      requestId: error.requestId ?? null,
      retryable: stopped || (error.retryable ?? true),
      needsAccess: error.status === 401,
      readyAt: error.retryAfter ? Date.now() + error.retryAfter * 1000 : null,
    };
    this.#changed(turn, "end");
  }

  #follow(turn) {
    const resumesBefore = turn.resumes;
    this.#follower?.stop();
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
        this.#noteTimes(turn);
        if (turn.settled) this.#changed(turn, "end");
        else this.#onChange(turn, before.text === turn.generation.text ? "change" : "delta");
      },
    });
    this.#follower.start();
  }

  #noteTimes(turn) {
    if (turn.sentAt === null) return; // sent before a reload: this page's clock began later
    const sinceSent = Math.round(performance.now() - turn.sentAt);
    if (turn.firstTextMs === null && turn.generation.text) {
      turn.firstTextMs = sinceSent;
      this.#save();
    }
    turn.elapsedMs = sinceSent;
  }

  async #cancel(turn) {
    try {
      await this.#follower.cancel();
    } catch (error) {
      if (turn.settled) return;
      turn.stopping = false;
      turn.stopError = error.message;
      this.#onChange(turn, "change");
    }
  }

  #changed(turn, what = "change") {
    this.#save();
    this.#onChange(turn, what);
  }

  #save() {
    this.#store.save({ conversationId: this.#conversationId, turns: this.turns.map(storable) }, withoutTheOldest);
  }
}

function newTurn(question) {
  return {
    key: randomKey(),
    question,
    phase: SENDING,
    refusal: null, // {code, message, requestId, retryable, needsAccess, readyAt} of the POST
    blocked: false, // another answer of the conversation is being written
    id: null,
    links: null,
    ticket: null,
    generation: fresh(),
    settled: false,
    verified: null,
    stopping: false,
    stopError: null,
    resumes: 0,
    sentAt: null,
    firstTextMs: null,
    elapsedMs: null,
  };
}

/** A running turn is kept without its text: the log tells it again from the beginning. */
function storable({ key, question, phase, refusal, id, links, ticket, generation, settled, verified, resumes, firstTextMs, elapsedMs }) {
  return { key, question, phase, refusal, id, links, ticket, generation: settled ? generation : null, settled, verified, resumes, firstTextMs, elapsedMs };
}

const restored = (kept) => ({ ...newTurn(kept.question), ...kept, generation: kept.generation ?? fresh() });

const withoutTheOldest = (kept) => (kept.turns.length > 1 ? { ...kept, turns: kept.turns.slice(1) } : null);

/** 128 random bits in hex; crypto.randomUUID needs a secure context. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
