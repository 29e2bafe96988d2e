/** What the widget says. One place, so that another language is another object. */

export const ENGLISH = {
  greeting: "What would you like to know?",
  placeholder: "Write a message",
  messageLabel: "Message",
  logLabel: "Conversation",
  you: "You",
  assistant: "Assistant",
  send: "Send",
  stop: "Stop",
  stopping: "Stopping…",
  newChat: "New chat",
  latest: "Jump to the latest",
  copy: "Copy",
  copied: "Copied",
  close: "Close",
  cancel: "Cancel",
  save: "Save",
  retry: "Try again",
  reasoning: "Reasoning",
  hint: "Enter sends, Shift + Enter makes a new line",
  accessHelp: "Reload the page to sign in again.",

  sending: "Sending…",
  blocked: "Another answer of this conversation is still being written. Yours is next.",
  queued: (position) => (position ? `Waiting in the queue, place ${position}` : "Waiting in the queue"),
  waiting: (reason, seconds) => `${WAITS[reason] ?? `The provider is not ready (${reason})`}. Next try in ${Math.max(1, Math.round(seconds))} s`,
  thinking: "Thinking…",
  answering: "Answering",
  checking: "Checking the text…",
  reconnecting: "Connection lost. Reconnecting…",
  offline: "You are offline. The answer goes on without you.",
  polling: "Answering, by polling",
  finished: "Answer complete",
  stopFailed: (why) => `Could not stop it. ${why}`,

  regenerate: "Regenerate",
  edit: "Edit",
  editLabel: "New wording",
  editSend: "Send",
  previousVersion: "Previous version",
  nextVersion: "Next version",
  version: (at, of) => `Version ${at} of ${of}`,
  good: "Good answer",
  bad: "Bad answer",
  commentLabel: "A word about the answer, if you like",
  commentGood: "What was good? (optional)",
  commentBad: "What was wrong? (optional)",
  commentSend: "Send",
  thanks: "Thank you, noted.",
  ratingFailed: (why) => `Could not be kept. ${why}`,

  readyIn: (time) => `You can try again in\u00a0${time}.`,
  ready: "You can try again now.",
  rest: (count, time) => `${["No message", "1 message"][count] ?? `${count} messages`} left, one more in\u00a0${time}`,
  limits: {
    requests: "That was a lot of messages in a short time.",
    visitor_generations: "Many of your answers are still being written.",
    tenant_generations: "This site is writing as many answers as it can.",
  },

  conversations: "Conversations",
  openList: "Show conversations",
  closeList: "Hide conversations",
  untitled: "Untitled",
  busy: "An answer is being written",
  rename: "Rename",
  titleLabel: "Title",
  remove: "Delete",
  removeAsk: "For good?",
  removeQuestion: (title) => `Delete “${title}” for good?`,
  removeSure: "Delete",
  keep: "Keep",
  more: "Show more",
  older: "Show earlier turns",
  opening: "Opening the conversation…",
  gone: "That conversation was deleted. This is a new one.",
  listLoading: "Looking for your conversations…",
  listEmpty: "What you ask is kept here.",
  listFailed: "The list is not up to date.",
  ago,

  stopped: "Stopped",
  incomplete: (reason) => INCOMPLETE[reason] ?? "The answer is incomplete.",
  failed: "The answer failed",
  refused: "Not sent",
  unconfirmed: "No connection", // it may have arrived; trying again sends it as the same
  repaired: "Pieces were missing on the way. This is the stored text, fetched again.",
  unverified: "The text could not be compared with the stored one.",
  cached: "from cache",
  cachedHelp: "The same was asked before; this is the answer that was kept.",
  tokens: (count) => `${count} tokens`,
};

const WAITS = {
  rate_limited: "The provider has too much to do",
  overloaded: "The provider has too much to do",
  provider_timeout: "The provider did not answer in time",
  provider_unreachable: "The provider could not be reached",
};

const INCOMPLETE = {
  length: "The answer reached its length limit.",
  limit: "The answer reached its limit.",
  content_filter: "The provider's filter ended the answer.",
  refusal: "The model declined to go on.",
  interrupted: "The provider broke off. This is what arrived.",
};

const UNITS = [
  ["year", 365 * 86_400_000],
  ["month", 30 * 86_400_000],
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** `5 minutes ago`, `yesterday` */
function ago(ms) {
  const [unit, length] = UNITS.find(([, each]) => ms >= each) ?? [];
  return unit ? new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(ms / length), unit) : "just now";
}
