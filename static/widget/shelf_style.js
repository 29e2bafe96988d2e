/** The looks of the list of conversations, for elements that have it. */

const CSS_TEXT = `
.shelf { position: relative; display: grid; grid-template: minmax(0, 1fr) / minmax(0, 1fr); overflow: hidden; }
.shelf.beside { grid-template-columns: 16.5rem minmax(0, 1fr); }

.bar { display: flex; align-items: center; gap: 0.25rem; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); }
.bar-title { flex: 1; min-width: 0; overflow: hidden; text-align: center; font-size: 0.9rem; font-weight: 550; text-overflow: ellipsis; white-space: nowrap; }
.bar .tool { width: 2.4rem; height: 2.4rem; font-size: 1.15rem; }
.beside .bar, .beside .shade, .beside .closer { display: none; }

.drawer {
  position: absolute; inset: 0 auto 0 0; z-index: 2; display: flex; flex-direction: column; width: min(19rem, 86%);
  background: var(--raised); visibility: hidden; translate: -102% 0; transition: translate 0.2s ease-out, visibility 0.2s;
}
.open .drawer { visibility: visible; translate: none; transition: translate 0.2s ease-out; box-shadow: 0 0 40px rgb(0 0 0 / 0.2); }
.beside .drawer { position: static; width: auto; visibility: visible; translate: none; border-inline-end: 1px solid var(--line); box-shadow: none; transition: none; }
.shade { position: absolute; inset: 0; z-index: 1; background: rgb(0 0 0 / 0.35); opacity: 0; visibility: hidden; transition: opacity 0.2s, visibility 0.2s; }
.open .shade { opacity: 1; visibility: visible; transition: opacity 0.2s; }
.closer { position: absolute; inset: 0.7rem 0.6rem auto auto; width: 2.4rem; height: 2.4rem; font-size: 1.1rem; }

.list { flex: 1; display: flex; flex-direction: column; min-height: 0; font-size: 0.9rem; }
.past { flex: 1; min-height: 0; padding: 0 0.6rem max(1rem, env(safe-area-inset-bottom)); overflow-y: auto; scrollbar-width: thin; scrollbar-color: var(--line) transparent; }
.fresh-row { display: flex; align-items: center; gap: 0.55rem; flex: none; margin: 0.75rem 0.6rem; min-height: 2.4rem; padding: 0.3rem 0.7rem; border: 1px solid var(--line); border-radius: 10px; background: var(--surface); font-weight: 550; text-align: start; }
.shelf:not(.beside) .fresh-row { margin-inline-end: 3.6rem; }
.fresh-row:hover { border-color: var(--accent); }
.fresh-row .icon { color: var(--accent); }
.row { position: relative; border-radius: 10px; }
.row-open { display: block; width: 100%; padding: 0.4rem 0.7rem 0.45rem; border: 0; border-radius: inherit; background: transparent; text-align: start; line-height: 1.35; }
.row:hover .row-open, .row:focus-within .row-open { background: color-mix(in srgb, var(--ink) 5%, transparent); }
.row-open[aria-current] { background: color-mix(in srgb, var(--accent) 13%, transparent) !important; }
.row-title { display: block; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row-open[aria-current] .row-title { font-weight: 550; }
.row-when { display: flex; align-items: center; gap: 0.4rem; color: var(--muted); font-size: 0.78rem; }
[aria-current] .row-when, .asks .row-when { color: color-mix(in srgb, var(--muted) 65%, var(--ink)); }
.row-tools { position: absolute; inset: auto 0.25rem 0.15rem auto; display: flex; }
.row-tools .tool { width: 1.75rem; height: 1.6rem; font-size: 0.85rem; }
.row-tools .tool:hover { background: color-mix(in srgb, var(--ink) 9%, transparent); }
.past > .quiet { margin: 0.25rem 0.2rem; }
.row-form { display: flex; align-items: center; gap: 0.2rem; min-height: 3.1rem; padding: 0.3rem 0.35rem 0.3rem 0.7rem; }
.row-form:not(.asks) { margin: 0; border: 1px solid var(--accent); border-radius: inherit; background: var(--surface); padding-inline-start: 0.3rem; }
.row-form .tool { width: 1.75rem; }
.row-form.asks { flex-wrap: wrap; padding-block: 0.4rem; border-radius: inherit; background: color-mix(in srgb, var(--bad) 9%, transparent); }
.asks .row-title { flex: 0 0 100%; line-height: 1.35; }
.asks .row-when { flex: 1; }
.asks .button { min-height: 1.7rem; padding: 0.1rem 0.7rem; font-size: 0.8rem; }
.danger { border-color: transparent; background: var(--bad); color: var(--surface); }
.danger:hover:not(:disabled) { background: color-mix(in srgb, var(--bad) 85%, var(--ink)); border-color: transparent; }
.row-problem { padding: 0 0.7rem 0.5rem; color: var(--bad); font-size: 0.8rem; }
.said { padding: 0.75rem 0.7rem 0.25rem; color: var(--muted); font-size: 0.85rem; }

@media (hover: hover) and (pointer: fine) {
  .row-tools { opacity: 0; }
  .row:hover .row-tools, .row:focus-within .row-tools { opacity: 1; }
}
`;

export const shelfStyle = new CSSStyleSheet();
shelfStyle.replaceSync(CSS_TEXT);
