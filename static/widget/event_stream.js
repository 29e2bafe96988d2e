/**
 * One EventSource of one generation. It reconnects by itself and sends Last-Event-ID; what it can't do is told:
 * `onFailure` when it is over for good, `onClose` with the server's notice about this connection.
 */

export const KINDS = ["queued", "waiting", "started", "switched", "delta", "reasoning", "tool_call", "snapshot", "done", "failed"];

/** Errors in a row without an event between them, after which the stream is given up. */
const MAX_ERRORS = 4;

export const hasEventSource = () => typeof globalThis.EventSource === "function";

export function openEventStream(url, { onOpen, onEvent, onTrouble, onClose, onFailure }) {
  const source = new EventSource(url);
  let errors = 0;

  const fail = (reason) => {
    source.close();
    onFailure(reason);
  };

  const receive = (event, take) => {
    let data;
    try {
      data = JSON.parse(event.data);
    } catch {
      fail("malformed");
      return;
    }
    errors = 0;
    take(data);
  };

  for (const kind of KINDS) {
    source.addEventListener(kind, (event) => receive(event, (data) => onEvent({ kind, id: event.lastEventId, data })));
  }
  source.addEventListener("close", (event) =>
    receive(event, (data) => {
      source.close();
      onClose(data);
    }),
  );
  source.addEventListener("open", () => onOpen());
  source.addEventListener("error", () => {
    errors += 1;
    if (source.readyState === EventSource.CLOSED) fail("closed");
    else if (errors >= MAX_ERRORS) fail("errors");
    else onTrouble();
  });

  return {
    close: () => source.close(),
    get isClosed() {
      return source.readyState === EventSource.CLOSED;
    },
  };
}
