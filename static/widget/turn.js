/** A turn: what was asked, and the generation that answers it. Made here, kept over a reload, read from the server. */

import { applyAnswer, fresh, isTerminal } from "./generation.js";

/** A turn's life before it has a generation: sending → (refused | accepted). */
export const SENDING = "sending";
export const REFUSED = "refused";
export const ACCEPTED = "accepted";

/** A turn to be sent. `body` is the request's, the same however often it is sent; `parent` the id of the turn that it follows. */
export function newTurn({ question, body, parent = null }) {
  return {
    key: randomKey(),
    question,
    body,
    parent,
    phase: SENDING,
    refusal: null, // {code, message, limit, requestId, retryable, needsAccess, readyAt} of the POST
    blocked: false, // another answer of the conversation is being written
    id: null,
    links: null,
    ticket: null,
    generation: fresh(),
    settled: false,
    verified: null,
    feedback: null, // {rating: up | down, comment}
    feedbackError: null,
    stopping: false,
    stopError: null,
    resumes: 0,
    sentAt: null,
    firstTextMs: null,
    elapsedMs: null,
  };
}

/** The turn as a conversation's look-up tells it. One that runs is followed from its beginning, so it has no text yet. */
export function turnFrom(told) {
  const settled = isTerminal(told);
  return {
    ...newTurn({ question: told.message, body: null, parent: told.parent ?? null }),
    phase: ACCEPTED,
    id: told.id,
    links: told.links,
    generation: settled ? applyAnswer(fresh(), told) : fresh(),
    settled,
    verified: settled || null, // it is the stored text
    feedback: told.feedback ?? null,
  };
}

const KEPT = [
  ...["key", "question", "body", "parent", "phase", "refusal", "id", "links", "ticket", "generation", "settled", "verified"],
  ...["feedback", "resumes", "firstTextMs", "elapsedMs"],
];

/** What a tab keeps of a turn. A running one is kept without its text: the log tells it again from the beginning. */
export function storable(turn) {
  const kept = Object.fromEntries(KEPT.map((name) => [name, turn[name]]));
  return { ...kept, generation: turn.settled ? turn.generation : null };
}

export const restored = (kept) => ({ ...newTurn(kept), ...kept, generation: kept.generation ?? fresh() });

/** 128 random bits in hex; crypto.randomUUID needs a secure context. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
