/**
 * The stream of reports, read by `fetch`, which tells the status of a refusal as an EventSource does not. It comes back by itself until
 * it is closed or refused.
 */

import { frameParser } from "../widget/fetched_stream.js";

/** Without a byte for so long, a keep-alive's either, the connection counts as lost. */
const SILENT_MS = 30_000;

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;

/**
 * `onReport(report)`; `onTrouble(why)`: it is lost for now and comes back, `why` is the server's word or null;
 * `onRefused(status, message)`: it is over.
 */
export class ReportStream {
  #url;
  #handlers;
  #controller = null;

  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
  }

  /** Begins, or begins anew. */
  open() {
    this.close();
    this.#controller = new AbortController();
    this.#run(this.#controller.signal);
  }

  /** Whether it goes on by itself. */
  get isOpen() {
    return this.#controller !== null;
  }

  close() {
    this.#controller?.abort();
    this.#controller = null;
  }

  async #run(signal) {
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      const end = await this.#once(signal).catch(() => ({}));
      if (signal.aborted) return;
      if (end.refused) {
        this.close();
        this.#handlers.onRefused(end.refused, end.message);
        return;
      }
      pauseMs = end.retryMs ?? (end.told ? FIRST_PAUSE_MS : Math.min(pauseMs * 2, LONGEST_PAUSE_MS));
      this.#handlers.onTrouble(end.message ?? null);
      await pause(pauseMs * (0.75 + Math.random() / 2), signal);
    }
  }

  /** One connection: how it ended, `{refused, message, retryMs, told}`, where anything is known of that. */
  async #once(signal) {
    const silence = watchdog(SILENT_MS, signal);
    try {
      const response = await fetch(this.#url, { cache: "no-store", credentials: "same-origin", signal: silence.signal });
      if (response.status !== 200) return await refusal(response);
      return await this.#read(response, silence);
    } finally {
      silence.end();
    }
  }

  async #read(response, silence) {
    const end = { told: false };
    const parse = frameParser(({ kind, text }) => {
      const data = JSON.parse(text);
      if (kind === "status" && !silence.signal.aborted) {
        end.told = true;
        this.#handlers.onReport(data);
      } else if (kind === "close") {
        end.retryMs = data.retry_ms;
        end.message = CLOSED[data.code];
        if (!data.reconnect) end.refused = 401;
      }
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return end;
        silence.heard();
        parse(value);
      }
    } catch {
      return end;
    }
  }
}

const CLOSED = {
  draining: "The web process stops; another one takes over.",
  overloaded: "Too many status pages are open.",
  auth_expired: "The sign-in has ended: its key was revoked, or its time is over.",
};

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const refused = [401, 403].includes(response.status) ? response.status : undefined;
  return { refused, message: body.message, retryMs: body.retry_after ? body.retry_after * 1000 : undefined };
}

/** A signal that follows `outer`, and is aborted where `heard` is not called for `ms`. */
function watchdog(ms, outer) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  let timer = setTimeout(abort, ms);
  outer.addEventListener("abort", abort);
  return {
    signal: controller.signal,
    heard() {
      clearTimeout(timer);
      timer = setTimeout(abort, ms);
    },
    end() {
      clearTimeout(timer);
      outer.removeEventListener("abort", abort);
    },
  };
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
