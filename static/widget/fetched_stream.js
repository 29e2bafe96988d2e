/**
 * The event stream for one who has no ticket: an answer that was begun elsewhere. It is read by `fetch`, with the token
 * in a header, and told like `openEventStream` tells it; it does not reconnect by itself.
 */

import { KINDS } from "./event_stream.js";

/** `open(signal)` gives the response. */
export function openFetchedStream(open, { onOpen, onEvent, onClose, onFailure }) {
  const controller = new AbortController();
  const { signal } = controller;

  const take = ({ kind, id, text }) => {
    if (signal.aborted || (kind !== "close" && !KINDS.includes(kind))) return;
    const data = JSON.parse(text);
    if (kind !== "close") onEvent({ kind, id, data });
    else onClose(data);
  };

  const read = async () => {
    const response = await open(signal);
    if (signal.aborted) return;
    onOpen();
    const parse = frameParser(take);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    signal.addEventListener("abort", () => reader.cancel().catch(() => {}));
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      parse(value);
    }
  };

  read()
    .catch(() => {})
    .finally(() => {
      if (signal.aborted) return;
      controller.abort();
      onFailure("ended");
    });

  return {
    close: () => controller.abort(),
    get isClosed() {
      return signal.aborted;
    },
  };
}

/** Pieces of an event stream in, frames `{kind, id, text}` out (WHATWG HTML §9.2.6; our server's lines end with a line feed). */
export function frameParser(take) {
  let rest = "";
  let id = "";
  return (piece) => {
    const frames = (rest + piece).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      let kind = "";
      let text = "";
      for (const line of frame.split("\n")) {
        const [, field, value] = /^([a-z]+): ?(.*)$/s.exec(line) ?? [];
        if (field === "event") kind = value;
        else if (field === "id") id = value;
        else if (field === "data") text = value; // one line each
      }
      if (kind) take({ kind, id, text });
    }
  };
}
