/**
 * Follows one generation to its end, over whatever connection there is: the event stream first, polling where it fails.
 * It ends with the stored text: the terminal event's checksum is compared, and what does not match is fetched again.
 */

import { matches } from "./checksum.js";
import { hasEventSource, openEventStream } from "./event_stream.js";
import { openFetchedStream } from "./fetched_stream.js";
import { applyAnswer, applyEvent, fresh, isAhead, isTerminal, unreachable } from "./generation.js";

/** Milliseconds, unless the name says otherwise. */
export const TIMING = {
  silence: 15_000, // without an event, after which the stream is checked by a poll
  grace: 1_500, // what a stream gets to show what a poll already knows
  pollPause: 1_000, // between two polls at least
  pollWaitSeconds: 2, // `?wait=` of a poll while the page is seen: text so far comes that often
  hiddenWaitSeconds: 25,
  backoff: 1_000, // after a failed poll, doubling
  maxBackoff: 15_000,
  cancelPatience: 3_000, // after a cancel, until a poll asks for the end
};

/** Streams in a row that may fail or stay behind, before polling is all that is left. */
const MAX_SETBACKS = 2;

export class Follower {
  #api;
  #links;
  #ticket;
  #timing;
  #onChange;
  #stream = null;
  #polling = null; // AbortController of the poll loop
  #timer = null; // silence, or the pause that a `close` notice asked for
  #setbacks = 0; // streams in a row that failed or stayed behind
  #ended = false;

  /** `onChange(follower)` is called after every change of `state`, `link`, `resumes` or `settled`. */
  constructor({ api, links, ticket, onChange, timing = TIMING }) {
    this.#api = api;
    this.#links = links;
    this.#ticket = ticket;
    this.#timing = timing;
    this.#onChange = onChange;
    this.state = fresh();
    this.link = "connecting"; // connecting | live | reconnecting | offline | polling | closed
    this.opens = 0;
    this.settled = false; // ended, and the text is the stored one
    this.verified = null; // true: the checksum matched; false: it could not be compared with the stored text
  }

  start() {
    addEventListener("online", this.#check);
    addEventListener("offline", this.#noteOffline);
    addEventListener("pageshow", this.#restore);
    document.addEventListener("visibilitychange", this.#checkIfVisible);
    this.#listen();
  }

  /** Leaves the generation alone and lets go of everything. */
  stop() {
    this.#ended = true;
    this.#letGo();
    removeEventListener("online", this.#check);
    removeEventListener("offline", this.#noteOffline);
    removeEventListener("pageshow", this.#restore);
    document.removeEventListener("visibilitychange", this.#checkIfVisible);
  }

  /** Asks the server to end it. The end itself comes as any other: by the stream, or by a poll. */
  async cancel() {
    await this.#api.cancel(this.#links);
    if (this.#stream) this.#restartTimer(this.#timing.cancelPatience, this.#check);
  }

  // The stream

  #listen({ fromTheBeginning = false } = {}) {
    this.#letGo();
    if (!this.#canListen) {
      this.#poll();
      return;
    }
    const after = fromTheBeginning ? null : this.state.lastId;
    this.#stream = this.#open(after, {
      onOpen: () => {
        this.opens += 1;
        this.#change({ link: "live" });
      },
      onEvent: (event) => this.#receive(event),
      onTrouble: () => this.#change({ link: navigator.onLine === false ? "offline" : "reconnecting" }),
      onClose: (notice) => this.#heed(notice),
      onFailure: () => {
        this.#setbacks += 1;
        this.#poll();
      },
    });
    this.#watchSilence();
  }

  #open(after, listeners) {
    if (this.#ticket) return openEventStream(this.#api.eventsUrl(this.#links, this.#ticket, after), listeners);
    return openFetchedStream((signal) => this.#api.events(this.#links, after, signal), listeners);
  }

  #receive(event) {
    const state = applyEvent(this.state, event);
    if (state.lost && !this.state.lost) {
      this.state = state;
      this.#listen({ fromTheBeginning: true });
      return;
    }
    this.#watchSilence();
    this.#setbacks = 0;
    if (isTerminal(state)) this.#verify(state);
    else this.#change({ state, link: "live" });
  }

  /** A notice about the connection: come back later, or not at all. */
  #heed({ reconnect, retry_ms }) {
    this.#letGo();
    if (!reconnect) {
      this.#poll();
      return;
    }
    this.#change({ link: "reconnecting" });
    this.#restartTimer(retry_ms ?? 1000, () => this.#listen());
  }

  #watchSilence() {
    this.#restartTimer(this.#timing.silence, this.#check);
  }

  // Is it alive?

  /** Compares the stream with a poll: a stream that stays behind, or shut, is replaced. */
  #check = async () => {
    if (this.#ended || this.#polling || !this.#stream) return;
    const stream = this.#stream;
    this.#watchSilence();
    let answer;
    try {
      answer = await this.#api.poll(this.#links);
      if (isAhead(answer, this.state)) await pause(this.#timing.grace);
    } catch {
      if (this.#stream === stream && stream.isClosed) this.#poll();
      return;
    }
    if (this.#ended || this.#stream !== stream) return;
    if (isAhead(answer, this.state)) {
      this.#setbacks += 1;
      this.#poll(answer);
    } else if (stream.isClosed) this.#listen();
    else if (this.link === "offline") this.#change({ link: "live" });
  };

  #checkIfVisible = () => {
    if (document.visibilityState === "visible") this.#check();
  };

  /** A page taken out of the back-forward cache has no connection, whatever its objects say. */
  #restore = (event) => {
    if (event.persisted && !this.#ended) this.#listen();
  };

  #noteOffline = () => this.#change({ link: "offline" });

  // Polling

  async #poll(first = null) {
    this.#letGo();
    const controller = new AbortController();
    const { signal } = controller;
    this.#polling = controller;
    this.#change({ link: "polling" });
    if (first && this.#take(first)) return;
    let failures = 0;
    for (let round = 0; !signal.aborted; round++) {
      const waitSeconds = round === 0 ? 0 : this.#waitSeconds();
      let answer;
      try {
        answer = await this.#api.poll(this.#links, { waitSeconds, signal });
      } catch (error) {
        if (signal.aborted) return;
        if (isRefusal(error)) {
          this.#settle(unreachable(this.state, error), false);
          return;
        }
        failures += 1;
        this.#change({ link: navigator.onLine === false ? "offline" : "reconnecting" });
        await pause(error.retryAfter ? error.retryAfter * 1000 : this.#backoff(failures), signal);
        continue;
      }
      if (signal.aborted) return;
      if (this.#take(answer)) return;
      await pause(this.#timing.pollPause, signal);
      const networkWasAway = failures > 0;
      failures = 0;
      if (signal.aborted || !this.#canListen || isTerminal(this.state)) continue;
      if (networkWasAway || this.#setbacks < MAX_SETBACKS) {
        this.#listen();
        return;
      }
    }
  }

  /** Shows a polled answer; true when that was the end. */
  #take(answer) {
    const state = applyAnswer(this.state, answer);
    if (isTerminal(answer)) {
      this.#settle(state, true);
      return true;
    }
    this.#change({ state, link: "polling" });
    return false;
  }

  #waitSeconds() {
    return document.visibilityState === "visible" ? this.#timing.pollWaitSeconds : this.#timing.hiddenWaitSeconds;
  }

  #backoff(failures) {
    return Math.min(this.#timing.maxBackoff, this.#timing.backoff * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
  }

  // The end

  /** The stream said how it ended: its text must be the one that was stored. */
  async #verify(state) {
    this.#letGo();
    this.state = state;
    const controller = new AbortController();
    this.#polling = controller; // the end is being settled: no check may start anything
    if (state.expected.sha256 == null || (await matches(state.text, state.expected))) {
      this.#settle(state, true);
      return;
    }
    this.state = { ...state, repaired: true };
    if (!controller.signal.aborted) this.#poll();
  }

  #settle(state, verified) {
    this.verified = verified;
    this.settled = true;
    this.stop();
    this.#change({ state, link: "closed" });
  }

  // Small ones

  get #canListen() {
    return !this.#ticket || hasEventSource();
  }

  #change(changes) {
    Object.assign(this, changes);
    this.#onChange(this);
  }

  #restartTimer(ms, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }

  #letGo() {
    clearTimeout(this.#timer);
    this.#stream?.close();
    this.#stream = null;
    this.#polling?.abort();
    this.#polling = null;
  }
}

/** The server answered, and its answer will stay the same: not ours, gone, or no longer allowed. */
const isRefusal = (error) => error.status >= 400 && error.status < 500 && !error.retryable;

/** Waits; ends early when aborted, or when the network comes back. */
function pause(ms, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal?.addEventListener("abort", end);
    if (ms > 1000) addEventListener("online", end);
  });
}
