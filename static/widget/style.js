/**
 * The element's looks, as a constructable stylesheet: a strict `style-src 'self'` of the embedding page allows it.
 * Every colour and size that a site may want to change is a custom property `--ai-chat-…`.
 */

const CSS_TEXT = `
:host {
  --accent: var(--ai-chat-accent, #0c6b58);
  --on-accent: var(--ai-chat-on-accent, #ffffff);
  --surface: var(--ai-chat-surface, #ffffff);
  --raised: var(--ai-chat-raised, #f4f3ef);
  --bubble: var(--ai-chat-bubble, #e9f1ee);
  --ink: var(--ai-chat-ink, #1c1f21);
  --muted: var(--ai-chat-muted, #63686c);
  --line: var(--ai-chat-line, #e3e1db);
  --bad: var(--ai-chat-bad, #a8322a);
  --bad-surface: var(--ai-chat-bad-surface, #fbefed);
  --warn: var(--ai-chat-warn, #8a5a00);
  --warn-surface: var(--ai-chat-warn-surface, #fbf3df);
  --radius: var(--ai-chat-radius, 18px);
  --width: var(--ai-chat-width, 46rem);
  --font: var(--ai-chat-font, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif);
  --mono: var(--ai-chat-mono, ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace);
  display: block;
  height: 100%;
  min-height: 0;
  color: var(--ink);
  background: var(--surface);
  font: 400 var(--ai-chat-size, 1rem) / 1.6 var(--font);
}

@media (prefers-color-scheme: dark) {
  :host {
    --accent: var(--ai-chat-accent, #5cc9ae);
    --on-accent: var(--ai-chat-on-accent, #06231c);
    --surface: var(--ai-chat-surface, #17191b);
    --raised: var(--ai-chat-raised, #202326);
    --bubble: var(--ai-chat-bubble, #20322d);
    --ink: var(--ai-chat-ink, #e8e9e7);
    --muted: var(--ai-chat-muted, #9aa1a4);
    --line: var(--ai-chat-line, #2b2f32);
    --bad: var(--ai-chat-bad, #f0938a);
    --bad-surface: var(--ai-chat-bad-surface, #2e1f1e);
    --warn: var(--ai-chat-warn, #e2b45c);
    --warn-surface: var(--ai-chat-warn-surface, #2b2619);
  }
}

*, *::before, *::after { box-sizing: border-box; }
[hidden] { display: none !important; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
p, ul { margin: 0; padding: 0; }
ul { list-style: none; }
button, textarea, input { font: inherit; color: inherit; }
button { cursor: pointer; }
button:disabled { cursor: default; }

.shelf, .main { height: 100%; min-width: 0; min-height: 0; }
.waiting { visibility: hidden; }
.main { display: flex; flex-direction: column; }
.chat { flex: 1; display: flex; flex-direction: column; min-height: 0; }
.stage { position: relative; flex: 1; min-height: 0; }
.log { height: 100%; overflow-y: auto; overflow-anchor: none; scrollbar-width: thin; scrollbar-color: var(--line) transparent; padding: 1.5rem 1.25rem 0.5rem; mask-image: linear-gradient(transparent, #000 1rem calc(100% - 1rem), transparent); }
.log:focus-visible { outline-offset: -3px; border-radius: 8px; }
.turns, .empty, .opening, .older, .dock > * { max-width: var(--width); margin-inline: auto; }

.empty { min-height: 100%; display: flex; flex-direction: column; justify-content: center; gap: 1.5rem; padding-block: 1rem 2rem; }
.greeting { font-size: 1.65em; line-height: 1.25; letter-spacing: -0.015em; font-weight: 600; text-wrap: balance; }
.suggestions { display: grid; gap: 0.6rem; }
.suggestion {
  width: 100%; text-align: start; padding: 0.8rem 1rem; border: 1px solid var(--line); border-radius: calc(var(--radius) * 0.7);
  background: transparent; line-height: 1.4; transition: background-color 0.15s, border-color 0.15s;
}
.suggestion:hover { background: var(--raised); border-color: var(--accent); }

.opening { display: flex; align-items: center; gap: 0.7rem; color: var(--muted); }
.older { display: flex; margin-block: 0 1.25rem; }
.notice { display: flex; align-items: center; gap: 0.75rem; padding: 0.35rem 0.75rem 0.35rem 1.25rem; background: var(--warn-surface); font-size: 0.9em; }
.notice .tool { margin-inline-start: auto; }

.turn { display: flex; flex-direction: column; gap: 1rem; padding-bottom: 1.9rem; }
.asked { display: flex; justify-content: flex-end; align-items: center; gap: 0.25rem; }
.below { display: flex; justify-content: flex-end; }
.below .branches { margin-top: 0.2rem; }
.bubble {
  max-width: min(85%, 34rem); padding: 0.6rem 1rem; border-radius: var(--radius) var(--radius) 5px var(--radius);
  background: var(--bubble); white-space: pre-wrap; overflow-wrap: anywhere;
}
.reply { min-width: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
.writing .text::after {
  content: ""; display: inline-block; width: 0.5em; height: 1.05em; margin-inline-start: 0.15em; vertical-align: -0.16em;
  border-radius: 2px; background: var(--accent); animation: blink 1.1s steps(2, jump-none) infinite;
}
.pending { display: flex; align-items: baseline; gap: 0.7rem; color: var(--muted); }
.pulse { flex: none; width: 0.55em; height: 0.55em; border-radius: 50%; background: var(--accent); animation: breathe 1.4s ease-in-out infinite; }

.thought { margin-bottom: 0.75rem; color: var(--muted); font-size: 0.9em; }
.thought summary { cursor: pointer; width: fit-content; }
.thought-text { margin-top: 0.4rem; padding-inline-start: 0.9rem; border-inline-start: 2px solid var(--line); white-space: pre-wrap; overflow-wrap: anywhere; }
.calls { margin-bottom: 0.75rem; font: 0.85em/1.5 var(--mono); color: var(--muted); overflow-wrap: anywhere; }
.meta { margin-top: 0.6rem; color: var(--warn); font-size: 0.9em; }
.foot { display: flex; align-items: center; flex-wrap: wrap; gap: 0.1rem; margin-top: 0.45rem; margin-inline-start: -0.5rem; color: var(--muted); font-size: 0.85em; }
.facts { margin-inline: 0.5rem; }
.badge { padding: 0 0.55rem; border: 1px solid var(--line); border-radius: 99px; font-size: 0.92em; }
.note:not(:empty) { margin-inline-start: 0.5rem; }
.rating, .branches { display: inline-flex; align-items: center; }
.count { min-width: 2.1em; text-align: center; color: var(--muted); font-size: 0.85rem; font-variant-numeric: tabular-nums; }
.comment { display: flex; align-items: center; gap: 0.35rem; max-width: 30rem; margin-top: 0.5rem; padding: 0.3rem 0.35rem 0.3rem 0.5rem; border: 1px solid var(--line); border-radius: calc(var(--radius) * 0.7); font-size: 0.9em; }
.comment:focus-within { border-color: var(--accent); }
input { flex: 1; min-width: 0; border: 0; outline: none; padding: 0.2rem 0.35rem; background: transparent; }
input::placeholder { color: var(--muted); opacity: 1; }
.editor { padding: 0.5rem; border: 1px solid var(--accent); border-radius: var(--radius); background: var(--bubble); }
.buttons { display: flex; justify-content: flex-end; gap: 0.4rem; }

.tool {
  flex: none; display: inline-grid; place-items: center; width: 2rem; height: 2rem; padding: 0; border: 0; border-radius: 8px;
  background: transparent; color: var(--muted); font-size: 0.95rem; transition: background-color 0.15s, color 0.15s, opacity 0.15s;
}
.tool:hover:not(:disabled) { background: var(--raised); color: var(--ink); }
.tool[aria-pressed="true"] { color: var(--accent); }
.tool[aria-pressed="true"] .icon { fill: color-mix(in srgb, var(--accent) 28%, transparent); }
.tool:disabled { opacity: 0.4; }
.branches .tool { width: 1.6rem; }
.upside-down .icon { transform: scaleY(-1); }
.busy .idle-only { visibility: hidden; }
.button { flex: none; min-height: 2rem; padding: 0.2rem 0.8rem; border: 1px solid var(--line); border-radius: 99px; background: var(--surface); font-size: 0.88rem; font-weight: 500; line-height: 1.4; }
.button:hover:not(:disabled) { border-color: var(--accent); }
.button.primary { border-color: transparent; background: var(--accent); color: var(--on-accent); }
.button.primary:disabled { background: var(--line); color: var(--muted); }
.problem { margin-top: 0.5rem; padding: 0.8rem 1rem; border-radius: calc(var(--radius) * 0.6); background: var(--bad-surface); color: var(--ink); }
.text:not([hidden]) ~ .problem { margin-top: 0.9rem; }
.problem strong { color: var(--bad); font-weight: 600; }
.problem.limit { background: var(--warn-surface); }
.problem.limit strong { color: var(--warn); }
.problem [role="timer"] { font-variant-numeric: tabular-nums; }
.problem-foot { display: flex; align-items: center; flex-wrap: wrap; gap: 0.4rem 0.9rem; margin-top: 0.35rem; }
.problem-foot .quiet { margin-inline-start: -0.5rem; color: var(--ink); }
.problem code { font: 0.8em var(--mono); color: var(--muted); overflow-wrap: anywhere; }

.quiet {
  display: inline-flex; align-items: center; gap: 0.4rem; min-height: 1.9rem; padding: 0.15rem 0.5rem; border: 0; border-radius: 8px;
  background: transparent; color: var(--muted); transition: background-color 0.15s, color 0.15s;
}
.quiet:hover:not(:disabled) { background: var(--raised); color: var(--ink); }
.problem .quiet:disabled { color: var(--muted); }
.problem .quiet:hover:not(:disabled) { background: color-mix(in srgb, var(--bad) 12%, transparent); }
.icon { flex: none; width: 1.05em; height: 1.05em; fill: none; stroke: currentColor; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }

.latest {
  position: absolute; inset-block-end: 0.5rem; inset-inline-start: 50%; translate: -50% 0; display: grid; place-items: center;
  width: 2.3rem; height: 2.3rem; border: 1px solid var(--line); border-radius: 50%; background: var(--surface); color: var(--ink);
  box-shadow: 0 2px 10px rgb(0 0 0 / 0.12);
}
.latest:hover { border-color: var(--accent); }

.dock { padding: 0.5rem 1.25rem max(0.7rem, env(safe-area-inset-bottom)); }
.composer {
  display: flex; align-items: flex-end; gap: 0.5rem; padding: 0.4rem; border: 1px solid var(--line); border-radius: calc(var(--radius) + 6px);
  background: var(--raised); transition: border-color 0.15s, box-shadow 0.15s;
}
.composer:focus-within { border-color: var(--accent); box-shadow: 0 0 0 3px color-mix(in srgb, var(--accent) 18%, transparent); }
textarea {
  display: block; width: 100%; flex: 1; min-width: 0; field-sizing: content; min-height: 2.5rem; max-height: 11rem; resize: none; border: 0; outline: none;
  padding: 0.45rem 0.75rem; background: transparent; line-height: 1.6; scrollbar-width: thin;
}
textarea:focus-visible, input:focus-visible { outline: none; } /* what stands around them shows the focus */
textarea::placeholder { color: var(--muted); opacity: 1; }
.round {
  flex: none; display: grid; place-items: center; width: 2.5rem; height: 2.5rem; border: 0; border-radius: 50%;
  background: var(--accent); color: var(--on-accent); font-size: 1.1rem; transition: opacity 0.15s, background-color 0.15s;
}
.round:hover:not(:disabled, [aria-disabled="true"]) { background: color-mix(in srgb, var(--accent) 88%, var(--ink)); }
.round:disabled, .round[aria-disabled="true"] { background: var(--line); color: var(--muted); }
.stop { background: var(--ink); color: var(--surface); }
.stop .icon { width: 1.4em; height: 1.4em; fill: currentColor; }

.line { display: flex; align-items: center; gap: 0.5rem; min-height: 2.1rem; padding: 0.25rem 0.6rem 0; color: var(--muted); font-size: 0.82em; }
.line .quiet, .rest { margin-inline-start: auto; flex: none; }
.rest ~ .quiet:not([hidden]) { margin-inline-start: 0.5rem; }
.rest { font-variant-numeric: tabular-nums; }
.status-text { min-width: 0; }
.dot { flex: none; width: 0.5rem; height: 0.5rem; border-radius: 50%; background: var(--muted); }
.dot[data-kind="busy"] { background: var(--accent); animation: breathe 1.4s ease-in-out infinite; }
.dot[data-kind="live"] { background: var(--accent); }
.dot[data-kind="bad"] { background: var(--bad); }
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }

@keyframes breathe { 50% { opacity: 0.25; } }
@keyframes blink { to { opacity: 0; } }

/* What is done rarely shows when one is there. */
@media (hover: hover) and (pointer: fine) {
  .asked .tool { opacity: 0; }
  .asked:hover .tool, .asked .tool:focus-visible { opacity: 1; }
}
@media (max-width: 480px) {
  .log { padding: 1rem 1rem 0.25rem; }
  .dock { padding-inline: 0.75rem; }
  .greeting { font-size: 1.4em; }
  .bubble { max-width: 90%; }
}
@media (pointer: coarse), (max-width: 480px) {
  .hint { display: none; }
  .line { min-height: 1.6rem; }
}
@media (prefers-reduced-motion: reduce) {
  *, *::before, *::after { animation: none !important; transition: none !important; }
}
`;

export const style = new CSSStyleSheet();
style.replaceSync(CSS_TEXT);
